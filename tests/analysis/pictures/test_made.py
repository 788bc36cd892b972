from __future__ import annotations

import pytest

from analysis.stream import join
from tests.analysis.pictures.made import stream_of
from tests.analysis.pictures.synthetic import Setting


@pytest.mark.parametrize(
    "setting",
    [
        Setting(),
        Setting(vantage="server"),
        Setting(upload=True),
        Setting(lose=(25, 27)),
        Setting(move_after=()),
        Setting(addresses=("10.0.1.2", "10.0.2.2", "10.0.3.2"), move_after=(30_000, 60_000)),
        Setting(addresses=("2001:db8:1::2", "2001:db8:2::2"), server="2001:db8::1"),
    ],
)
def test_the_made_streams_are_those_that_joining_finds(setting: Setting) -> None:
    made, _ = stream_of(setting)
    (joined,) = join(segment.packet for segment in made.segments)
    assert joined.segments == made.segments
    assert (joined.ni, joined.na, joined.shifts) == (made.ni, made.na, made.shifts)
    assert [(e.initiator, e.responder, e.migrate_syn, e.mover_is_initiator) for e in joined.epochs] == [
        (e.initiator, e.responder, e.migrate_syn, e.mover_is_initiator) for e in made.epochs
    ]
