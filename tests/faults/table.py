"""All faults that are planted in real runs, by name."""

from __future__ import annotations

from tests.faults import of_the_segments, of_the_states, of_the_wedge
from tests.faults.fault import Fault

_ALL = [*of_the_segments.FAULTS, *of_the_states.FAULTS, *of_the_wedge.FAULTS]
FAULTS: dict[str, Fault] = {fault.name: fault for fault in _ALL}
assert len(FAULTS) == len(_ALL), "two faults have the same name"
