"""What root makes in a checkout under sudo goes back to the checkout's owner."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The checkout."""

CACHES = (".hypothesis", ".mypy_cache", ".pytest_cache", ".ruff_cache")
_PACKAGES = ("analysis", "benchmarks", "migrate", "scenarios", "tests", "topologies")


def give_back(made: Iterable[Path] = (), root: Path = ROOT) -> None:
    """Gives `made` and Python's and the tools' caches, where root owns them, to the owner of `root`.

    Does nothing unless run by root in a checkout of somebody else.
    """
    owner = root.stat()
    if os.geteuid() != 0 or owner.st_uid == 0:
        return
    places = [*made, *(root / name for name in CACHES)]
    places += [cache for package in _PACKAGES for cache in (root / package).rglob("__pycache__")]
    for place in places:
        for path in [place, *place.rglob("*")]:
            try:
                if path.lstat().st_uid == 0:
                    os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
            except FileNotFoundError:
                pass  # a cache may be renewed at the same time
