"""The captures of `rapid`: read, drawn, and given to the judge."""

from __future__ import annotations

from analysis import capture, keylog, stream
from analysis.capture import Packet
from analysis.pictures.states_data import Moment, arrows, build, spans
from analysis.pictures.view import names_of
from analysis.stream import Stream
from scenarios import rapid_checks
from scenarios.base import Context
from scenarios.rapid_seen import Seen
from scenarios.verdict import Check

SHOWN_SECONDS = 1.5
"""Of the picture of the states: of a whole run one would see nothing."""
_FILES = {"server": ("server.pcap",), "mobile": ("loc1.pcap", "loc2.pcap")}


def judge(context: Context, seen: Seen) -> list[Check]:
    """All checks, and two pictures."""
    keys = keylog.read_keys([context.out / "keys.log"])
    packets = {
        vantage: sorted(
            (one for file in files for one in capture.read(context.out / file, vantage)), key=lambda one: one.time
        )
        for vantage, files in _FILES.items()
    }
    streams = {vantage: stream.join(found, keys) for vantage, found in packets.items()}
    if context.pictures:
        _draw(context, seen, streams["server"][0], packets)
    return rapid_checks.judge(context, seen, streams, packets)


def _draw(context: Context, seen: Seen, server: Stream, packets: dict[str, list[Packet]]) -> None:
    from analysis.pictures.time_sequence import draw_time_sequence  # which loads all of matplotlib

    context.step("drawing")
    title = f"rapid, profile {context.profile}, IPv{context.ip}"
    draw_time_sequence(
        server,
        context.out / "time-sequence-server.png",
        moves=[move.lost_at for move in seen.moves],
        title=f"{title}, at the server",
        names=names_of(server, "mobile", "server"),
    )
    _draw_states(context, seen, packets, title)


def _draw_states(context: Context, seen: Seen, packets: dict[str, list[Packet]], title: str) -> None:
    """The stretch of the run in which most moves began."""
    from analysis.pictures.states import draw_states  # which loads all of matplotlib

    starts = [move.lost_at for move in seen.moves]
    begin = max(starts, key=lambda start: sum(start <= other < start + SHOWN_SECONDS for other in starts)) - 0.05
    end = begin + SHOWN_SECONDS
    name = seen.server_events[0].connection
    first = {"server": seen.server_events, "mobile": seen.mobile_events}
    lanes = {host: spans(told, name, begin, end) for host, told in first.items()}
    places = {move.address for move in seen.moves}
    server = seen.server_events[0].local[0]
    owners = {place: [(0.0, "mobile")] for place in places} | {server: [(0.0, "server")]}
    moving = [arrow for arrow, _ in arrows(packets, owners, places)]
    sent = {"server": [one.time for one in packets["server"] if one.src == server]}
    moments = [Moment(start, "mobile", "", "the mobile moves") for start in starts]
    data = build(lanes, sent, moving, moments, begin, end)
    draw_states(data, context.out / "states.png", title=f"{title}: the {SHOWN_SECONDS:g} s with the most moves")
