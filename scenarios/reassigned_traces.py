"""The captures of `reassigned`'s runs: read, held against their diagrams, drawn, and given to the judge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from analysis import capture, diagram, keylog, stream
from analysis.capture import Packet
from analysis.checking import find
from analysis.diagram import Verdict as Judgement
from analysis.pictures.ladder import ladder_text
from analysis.pictures.ladder_svg import ladder_svg
from analysis.pictures.states_data import Moment, Span, arrows, build, spans
from analysis.pictures.view import names_of
from analysis.stream import Stream
from scenarios import reassigned_checks
from scenarios.base import Context
from scenarios.reassigned_seen import Back, Gone, Newcomer
from scenarios.verdict import Check, Invalid

_AT_MOBILE = ("loc1.pcap", "loc2.pcap")


def back(context: Context, out: Path, seen: Back) -> list[Check]:
    """Of the run in which the mobile came back elsewhere; `out` is the run's directory."""
    keys = keylog.read_keys([out / "keys.log"])
    at_server = capture.read(out / "server.pcap", "server")
    at_stranger = capture.read(out / "stranger.pcap", "stranger")
    streams = {
        "server": _only(stream.join(at_server, keys), "the server"),
        "mobile": _only(stream.load([out / file for file in _AT_MOBILE], "mobile", keys), "the mobile"),
        "stranger": _only(stream.join(at_stranger, keys), "the stranger"),
    }
    names = {"server": "reassigned-server", "mobile": "mobility", "stranger": "reassigned-stranger"}
    # What comes from the old address at the server is the mobile's, and later the stranger's.
    hosts = {
        "server": ("mobile, stranger", "server"),
        "mobile": ("mobile", "server"),
        "stranger": ("server", "stranger"),
    }
    judged = {
        vantage: _judge(out, names[vantage], streams[vantage], seen.round_trip, vantage, hosts[vantage])
        for vantage in streams
    }
    if context.pictures:
        context.step("back: drawing")
        _draw_back(out, seen, streams["server"], at_server, at_stranger)
    return reassigned_checks.back(context, seen, judged, at_server, at_stranger)


def _draw_back(out: Path, seen: Back, server: Stream, at_server: list[Packet], at_stranger: list[Packet]) -> None:
    from analysis.pictures.time_sequence import draw_time_sequence  # which loads all of matplotlib

    draw_time_sequence(
        server,
        out / "time-sequence-server.png",
        moves=[seen.lost_at],
        title="reassigned, back, at the server",
        names=names_of(server, "mobile", "server"),
    )
    mobile = [one for file in _AT_MOBILE for one in capture.read(out / file, "mobile")]
    old, new, fixed = seen.addresses
    _draw_states(
        out,
        {"server": at_server, "mobile": mobile, "stranger": at_stranger},
        {fixed: [(0.0, "server")], old: [(0.0, "mobile"), (seen.given_at, "stranger")], new: [(0.0, "mobile")]},
        [new],
        seen,
        [
            Moment(seen.lost_at, "mobile", "address lost"),
            Moment(seen.arrived_at, "mobile", "new address"),
            Moment(seen.tried_at[0], "server", "RSTs near rcv_nxt"),
            Moment(seen.tried_at[1], "stranger", "more RSTs"),
        ],
        seen.arrived_at + 1.0,
    )


def _draw_states(
    out: Path,
    captures: dict[str, list[Packet]],
    owners: dict[str, list[tuple[float, str]]],
    moved_to: list[str],
    seen: Back | Gone,
    moments: list[Moment],
    end: float,
) -> None:
    """The states of the connection that waited first, at both ends."""
    from analysis.pictures.states import draw_states  # which loads all of matplotlib

    begin = seen.lost_at - 1.0
    waiting = next(one for one in seen.server_events if one.event == "waiting")
    lanes = {
        name: spans(told, waiting.connection, begin, end)
        for name, told in (("server", seen.server_events), ("mobile", seen.mobile_events))
    }
    lanes["stranger"] = (Span(seen.given_at - begin, end - begin, "has the old address"),)
    port = waiting.remote[1]
    own = {host: [one for one in packets if port in (one.sport, one.dport)] for host, packets in captures.items()}
    sent = {"server": [one.time for one in own["server"] if one.src == waiting.local[0]]}
    moving = [arrow for arrow, _ in arrows(own, owners, moved_to)]
    data = build(lanes, sent, moving, moments, begin, end)
    draw_states(data, out / "states.png", title=f"reassigned, {out.name}: the connection's states at both ends")


def gone(context: Context, out: Path, seen: Gone) -> list[Check]:
    """Of the run in which nobody came back."""
    at_server = capture.read(out / "server.pcap", "server")
    streams = stream.join(at_server, keylog.read_keys([out / "keys.log"]))
    judged: dict[str, Judgement] = {}
    for port, program in seen.ports.items():
        one = _only([each for each in streams if each.epochs[0].responder.port == port], f"the server with {program}")
        judged[program] = _judge(out, "reassigned-gone", one, seen.round_trip, program, ("mobile, stranger", "server"))
    if context.pictures:
        context.step("gone: drawing")
        _draw_gone(out, seen, at_server)
    return reassigned_checks.gone(context, seen, judged, at_server)


def _draw_gone(out: Path, seen: Gone, at_server: list[Packet]) -> None:
    at_stranger = capture.read(out / "stranger.pcap", "stranger")
    old, fixed = seen.addresses
    _draw_states(
        out,
        {"server": at_server, "mobile": capture.read(out / "loc1.pcap", "mobile"), "stranger": at_stranger},
        {fixed: [(0.0, "server")], old: [(0.0, "mobile"), (seen.given_at, "stranger")]},
        [],
        seen,
        [Moment(seen.lost_at, "mobile", "address lost")],
        max(one.time for one in seen.server_events) + 1.0,
    )


def newcomer(context: Context, out: Path, seen: Newcomer) -> list[Check]:
    """Of the run in which the stranger opened connections of its own."""
    at_server = capture.read(out / "server.pcap", "server")
    streams = stream.join(at_server, keylog.read_keys([out / "keys.log"]))
    moved = [one for one in streams if len(one.epochs) > 1]
    own = [one for one in streams if len(one.epochs) == 1]
    same = [one for one in own if one.epochs[0].initiator.port == seen.port]
    other = [one for one in own if one.epochs[0].initiator.port != seen.port]
    whose = {
        "object": ("reassigned-server", _only(moved, "the server, moved"), "mobile, stranger"),
        "other-port": ("reassigned-newcomer", _only(other, "the server"), "stranger"),
        "same-port": ("reassigned-newcomer", _only(same, "the server"), "stranger"),
    }
    judged = {
        name: _judge(out, expected, one, seen.round_trip, name, (host, "server"))
        for name, (expected, one, host) in whose.items()
    }
    return reassigned_checks.newcomer(seen, judged, at_server)


def _only(streams: list[Stream], where: str) -> Stream:
    if len(streams) != 1:
        raise Invalid(f"{len(streams)} connections are in the captures at {where}, 1 should be")
    return streams[0]


def _judge(out: Path, name: str, one: Stream, round_trip: float, where: str, hosts: tuple[str, str]) -> Judgement:
    """`hosts`: whose the addresses of the connection's first 4-tuple are; an initiator that moved is the mobile."""
    expected = diagram.load(find(name))
    judgement = diagram.check(expected, one, round_trip)
    names = names_of(one, "mobile", hosts[1]) | {one.epochs[0].initiator.address: hosts[0]}
    about: dict[str, Any] = {
        "expected": judgement.matches,
        "names": names,
        "title": f"reassigned, {out.name}, {where}",
    }
    (out / f"ladder-{where}.txt").write_text(ladder_text(one, colour=False, **about) + "\n")
    (out / f"ladder-{where}.svg").write_text(ladder_svg(one, **about))
    (out / f"diagram-{where}.json").write_text(json.dumps(diagram.as_json(expected, [judgement]), indent=1))
    return judgement
