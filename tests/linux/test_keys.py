"""Key pairs are replaced while the eBPF side copies one of them: what it may be copying never changes under it.

(When keys were written over those that serve, all the time, one of 16,000 SYNs left with a key that was not its
number's.)"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from migrate.linux.maps import KEY_SLOTS, SETTINGS, SLOT, Switchboard

Slots = tuple[tuple[int, bytes], ...]
TURN, FIRST_SLOT = 3, 5
"""Places in what `SETTINGS` unpacks."""


class Recorder:
    """A settings map that remembers what was written."""

    def __init__(self) -> None:
        self.values = [bytes(SETTINGS.size)]

    def get(self, _: bytes) -> bytes:
        return self.values[-1]

    def set(self, _: bytes, value: bytes) -> None:
        self.values.append(value)

    def items(self) -> list[tuple[bytes, bytes]]:
        return []


def keys(number: int) -> Slots:
    return tuple((4 * number + at, bytes([4 * number + at]) * 25) for at in range(1, KEY_SLOTS + 1))


def sets(value: bytes) -> tuple[list[bytes], list[bytes]]:
    """Of one value of the map, as the eBPF side takes it: the slots that serve, and the others."""
    numbers = SETTINGS.unpack(value)
    both = [list(numbers[at : at + KEY_SLOTS]) for at in (FIRST_SLOT, FIRST_SLOT + KEY_SLOTS)]
    turn = numbers[TURN] & 1
    return both[turn], both[1 - turn]


def check(put: Callable[[Switchboard, Slots], None]) -> None:
    recorder = Recorder()
    switchboard = Switchboard(recorder, recorder, recorder)  # type: ignore[arg-type]
    for number in range(5):
        put(switchboard, keys(number))
        assert sets(recorder.values[-1])[0] == [SLOT.pack(*slot) for slot in keys(number)]
        assert switchboard.read().slots == keys(number)
        switchboard.promise(number)
        switchboard.guard(80)
    assert sets(recorder.values[-1])[1] == [SLOT.pack(*slot) for slot in keys(3)], "those before serve on for a moment"
    for before, after in zip(recorder.values, recorder.values[1:], strict=False):
        assert sets(before)[0] in sets(after), "slots that served have changed"


def test_the_slots_that_serve_stay_as_they_are() -> None:
    check(Switchboard.set_keys)


def test_slots_that_are_written_over_are_seen() -> None:
    with pytest.raises(AssertionError):
        check(lambda switchboard, slots: switchboard.write(replace(switchboard.read(), slots=slots)))
