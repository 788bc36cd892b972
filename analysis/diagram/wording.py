"""A segment as a line of a diagram would have it, so that expected and actual can be compared by eye."""

from __future__ import annotations

import struct

from analysis.capture import ACK, END_OF_OPTIONS, FIN, MALFORMED, NOP, PSH, RST, SYN
from analysis.diagram.model import Diagram
from analysis.stream import Segment, Stream
from migrate.core.options import MIGRATE_KIND, MP_KIND, Migrate, MigratePermitted, OptionError

MSS, WSCALE, SACK_OK, SACK, TIMESTAMPS = 2, 3, 4, 5, 8

KINDS = {
    "nop": NOP,
    "mss": MSS,
    "wscale": WSCALE,
    "sack-ok": SACK_OK,
    "sack": SACK,
    "timestamps": TIMESTAMPS,
    "migrate-permitted": MP_KIND,
    "migrate": MIGRATE_KIND,
}
NAMES = {kind: name for name, kind in KINDS.items()}

_SIZES = {MSS: 2, WSCALE: 1, SACK_OK: 0, TIMESTAMPS: 8}


def fault(kind: int, data: bytes) -> str | None:
    """What is wrong with an option's form, if anything is."""
    if kind in _SIZES and len(data) != _SIZES[kind]:
        return f"{len(data) + 2} bytes long, not {_SIZES[kind] + 2}"
    if kind == SACK and (not data or len(data) % 8):
        return f"{len(data) + 2} bytes long, which is no number of blocks"
    try:
        if kind == MP_KIND:
            MigratePermitted.decode(data)
        elif kind == MIGRATE_KIND:
            Migrate.decode(data)
    except OptionError as error:
        return str(error)
    return "malformed" if kind == MALFORMED else None


def flags(value: int) -> str:
    """As tcpdump writes them: [S.], [P.], [.]."""
    letters = ((FIN, "F"), (SYN, "S"), (RST, "R"), (PSH, "P"), (32, "U"), (ACK, "."))
    return "[" + "".join(letter for bit, letter in letters if value & bit) + "]"


def option(segment: Segment, kind: int, data: bytes) -> str:
    """One option with the values that diagrams name; SACK edges are counted like acknowledgements."""
    name = NAMES.get(kind, "malformed" if kind == MALFORMED else f"option {kind}")
    if fault(kind, data):
        return f"{name} {data.hex()}" if kind == MALFORMED else f"{name} malformed {data.hex()}".rstrip()
    if kind == MIGRATE_KIND:
        migrate = Migrate.decode(data)
        preload = " preload" if migrate.preload else ""
        return f"migrate token={migrate.token.hex()} request={migrate.request.hex()} req={migrate.reqno}{preload}"
    if kind == MP_KIND:
        return f"migrate-permitted curve={data[0]}"
    if kind in (MSS, WSCALE):
        return f"{name}={int.from_bytes(data, 'big')}"
    if kind == SACK and segment.ack is not None:
        base = segment.packet.ack - segment.ack
        edges = [(edge - base) % 2**32 for (edge,) in struct.iter_unpack("!I", data)]
        blocks = (f"{left}:{right}" for left, right in zip(edges[::2], edges[1::2], strict=True))
        return f"sack {' '.join(blocks)}"
    return name


def options(segment: Segment) -> str:
    """All options in order; padding is left out where there are others, for that is what it is for."""
    present = segment.packet.options
    meaningful = [(kind, data) for kind, data in present if kind not in (NOP, END_OF_OPTIONS)]
    migrates = any(kind == MIGRATE_KIND for kind, _ in present)
    shown = present if migrates or not meaningful else meaningful
    return "<" + ", ".join(option(segment, *one) for one in shown if one[0] != END_OF_OPTIONS) + ">"


def place(diagram: Diagram, stream: Stream, initiator: bool, epoch: int) -> tuple[str, str]:
    """An end's name and the name of the address that it has in an epoch; #3 where the diagram has no third.

    Names go to addresses (with port) in the order in which these appear; one that comes back keeps its name.
    """
    actor = diagram.initiator if initiator else diagram.responder
    ends = [one.initiator if initiator else one.responder for one in stream.epochs[: epoch + 1]]
    index = list(dict.fromkeys(ends)).index(ends[-1])
    return actor.name, actor.addresses[index] if index < len(actor.addresses) else f"#{index + 1}"


def segment_line(diagram: Diagram, stream: Stream, segment: Segment) -> str:
    """The segment in the words of the diagram."""
    ends = []
    for initiator in (segment.from_initiator, not segment.from_initiator):
        name, address = place(diagram, stream, initiator, segment.epoch)
        actor = diagram.initiator if initiator else diagram.responder
        # Addresses are told apart only where there is more than one.
        ends.append(name if len(actor.addresses) == 1 and not address.startswith("#") else f"{name}.{address}")
    parts = [f"{ends[0]} > {ends[1]}", flags(segment.flags), f"seq {segment.seq}"]
    if segment.ack is not None:
        parts.append(f"ack {segment.ack}")
    parts.append(f"win {segment.packet.window}")
    parts.append(f"length {segment.length}")
    parts.append(options(segment))
    return " ".join(parts)
