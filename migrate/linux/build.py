"""Compiles the eBPF programs: `python -m migrate.linux.build`.

They need clang, linux-libc-dev and libbpf-dev, and no headers of the running kernel.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path

SOURCES = Path(__file__).parent / "bpf"


def objects() -> list[Path]:
    """The object files that a complete build leaves behind."""
    return [source.with_suffix(".o") for source in sorted(SOURCES.glob("*.bpf.c"))]


def build() -> None:
    """Compiles every program beside its source.  Raises `RuntimeError` with one sentence where it cannot."""
    clang = shutil.which("clang")
    if clang is None:
        raise RuntimeError("clang is missing: run vagrant/provision.sh, or install the package clang")
    # asm/types.h lies in the directory of the machine's triplet, which -target bpf does not search.
    triplet = Path("/usr/include") / f"{platform.machine()}-linux-gnu"
    for source in sorted(SOURCES.glob("*.bpf.c")):
        target = source.with_suffix(".o")
        partial = target.with_suffix(".part")
        flags = [
            "-O2",
            "-g",
            "-mcpu=v3",
            "-fno-strict-aliasing",
            "-target",
            "bpf",
            "-Wall",
            "-Werror",
            "-I",
            str(triplet),
        ]
        command = [clang, *flags, "-c", str(source), "-o", str(partial)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            said = done.stderr.strip().splitlines() or ["it says nothing"]
            raise RuntimeError(f"clang cannot compile {source.name}: {said[0]}")
        partial.replace(target)


def main() -> int:
    try:
        build()
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
