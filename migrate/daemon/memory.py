"""The daemon's own memory: how much of it is in use, and giving back what is not.

What a process has in RAM does not tell whether it keeps something: malloc holds on to what a large checkpoint took, so
that the next one, for which programs stand still, need not wait for pages; and Python's allocator gives memory back
only where all of an arena is free.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import os
import re
import sys
from typing import Any

_FIELDS = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
_STDERR = 2


class _Mallinfo2(ctypes.Structure):
    """`struct mallinfo2` (malloc.h): of all arenas, in bytes but for the counts of blocks."""

    _fields_ = tuple((name, ctypes.c_size_t) for name in _FIELDS.split())


@functools.cache
def _libc() -> Any:
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallinfo2"):  # glibc 2.33
        libc.mallinfo2.restype = _Mallinfo2
    return libc


def in_use() -> int:
    """Bytes that the process has asked for and not let go of, be it Python or a library.  Takes about a millisecond."""
    gc.collect()  # what only waits for the collector is in nobody's use
    return _of_python() + _of_malloc()


def _of_malloc() -> int:
    libc = _libc()
    told = libc.mallinfo2() if hasattr(libc, "mallinfo2") else _Mallinfo2()
    return int(told.uordblks + told.hblkhd)


def _of_python() -> int:
    """In Python's own allocator, which has everything up to 512 bytes and tells of it on standard error only."""
    kept = os.dup(_STDERR)
    with os.fdopen(os.memfd_create("allocator"), "w+b") as told:
        try:
            os.dup2(told.fileno(), _STDERR)
            sys._debugmallocstats()
        finally:
            os.dup2(kept, _STDERR)
            os.close(kept)
        told.seek(0)
        found = re.search(rb"^# bytes in allocated blocks\s*=\s*([\d,]+)", told.read(), re.M)
    return int(found[1].replace(b",", b"")) if found else 0


def give_back() -> None:
    """The kernel gets what malloc has kept."""
    libc = _libc()
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
