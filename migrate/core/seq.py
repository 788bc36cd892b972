"""TCP sequence numbers: 32 bits, compared on a circle (RFC 9293, section 3.4).

All arguments and results are integers from 0 to 2**32 - 1, except differences, which are signed.
"""

from __future__ import annotations

_MODULUS = 1 << 32
_HALF = 1 << 31


def add(a: int, n: int) -> int:
    """The sequence number n bytes after a (before it, for a negative n)."""
    return (a + n) % _MODULUS


def diff(a: int, b: int) -> int:
    """How many bytes a lies ahead of b; negative if it lies behind.  Exactly half the circle counts as behind."""
    return (a - b + _HALF) % _MODULUS - _HALF


def lt(a: int, b: int) -> bool:
    """a is before b."""
    return diff(a, b) < 0


def leq(a: int, b: int) -> bool:
    """a is b or before it."""
    return diff(a, b) <= 0


def gt(a: int, b: int) -> bool:
    """a is after b."""
    return diff(a, b) > 0


def geq(a: int, b: int) -> bool:
    """a is b or after it."""
    return diff(a, b) >= 0


def between(low: int, a: int, high: int) -> bool:
    """a lies on the arc from low up to high, both included."""
    return (a - low) % _MODULUS <= (high - low) % _MODULUS
