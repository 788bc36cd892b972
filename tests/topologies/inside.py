"""Run a test function in a sandbox of its own: it fails in the test process as it failed there."""

from __future__ import annotations

import functools
import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from topologies.sandbox import is_inside, run_in_sandbox

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_SECONDS = 200


def in_sandbox(function: Callable[[], None]) -> Callable[[], None]:
    """Make a test of a function without arguments whose body runs in a new sandbox."""
    if is_inside():
        return function
    import pytest  # which the process inside has no need of, and which takes longer to import than most of all else

    @functools.wraps(function)
    def test() -> None:
        words = [sys.executable, "-m", "tests.topologies.inside", function.__code__.co_filename, function.__name__]
        process = run_in_sandbox(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT)
        try:
            said = process.communicate(timeout=TIMEOUT_SECONDS)[0]
        except subprocess.TimeoutExpired:
            process.kill()
            said = process.communicate()[0] + f"\nnot done within {TIMEOUT_SECONDS} s"
        if process.returncode != 0:
            pytest.fail(f"in the sandbox (exit status {process.returncode}):\n{said}", pytrace=False)

    return pytest.mark.kernel(test)


def main() -> None:
    """In the sandbox: run the function itself."""
    file, name = sys.argv[1:]
    spec = importlib.util.spec_from_file_location("inside_test", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    getattr(module, name)()


if __name__ == "__main__":
    main()
