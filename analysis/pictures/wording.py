"""A segment in tcpdump's words, with sequence numbers from Ni and Na, as on slide 30.  Pure."""

from __future__ import annotations

from analysis.capture import ACK, FIN, MALFORMED, NOP, PSH, RST, SYN
from analysis.pictures.view import SACK_KIND, Seen
from migrate.core.options import MIGRATE_KIND, MP_KIND, Migrate, MigratePermitted, OptionError

_LETTERS = ((SYN, "S"), (FIN, "F"), (PSH, "P"), (RST, "R"))
_END, _MSS, _WSCALE, _SACK_PERMITTED, _TIMESTAMP = 0, 2, 3, 4, 8


def flags_of(flags: int) -> str:
    """S, F, P, R as they are set; a dot where there is none of them but an ACK."""
    letters = "".join(letter for bit, letter in _LETTERS if flags & bit)
    return letters or ("." if flags & ACK else "-")


def head_of(seen: Seen, shifts: tuple[int, int] | None) -> tuple[str, ...]:
    """Flags, sequence range, ack and window: "P", "505:1953(1448)", "ack 1", "win 31856".

    The window is in bytes where its scale is known, as on the wire otherwise.
    """
    words = [flags_of(seen.flags)]
    if seen.length or seen.flags & (SYN | FIN | RST):
        # A replica's S may be stale, and 0 then counts from nothing; slide 30 shows it as it is on the wire, too.
        first = 0 if seen.preload and not seen.packet.seq else seen.seq
        words.append(f"{first}:{first + seen.length}({seen.length})")
    if seen.ack is not None:
        words.append(f"ack {seen.ack}")
    if not seen.flags & RST:
        scaled = shifts is not None and not seen.is_syn
        window = seen.packet.window << (shifts[0 if seen.from_initiator else 1] if scaled and shifts else 0)
        words.append(f"win {window}")
    return tuple(words)


def options_of(seen: Seen) -> tuple[str, ...]:
    """The options worth reading, one text each: all of a segment with SYN, else only what is out of the ordinary."""
    found: list[str] = []
    for kind, data in seen.packet.options:
        if kind in (NOP, _END) or (kind == _TIMESTAMP and not seen.is_syn):
            continue
        found.append(_option(kind, data, seen))
    return tuple(found)


def _option(kind: int, data: bytes, seen: Seen) -> str:
    try:
        if kind == MIGRATE_KIND:
            option = Migrate.decode(data)
            preload = "PRELOAD " if option.preload else ""
            return f"<migrate {preload}req={option.reqno} token={option.token.hex()} R={option.request.hex()}>"
        if kind == MP_KIND:
            permitted = MigratePermitted.decode(data)
            key = f" key={permitted.key.hex()[:8]}…" if permitted.key else ""
            return f"<migrate-permitted curve={permitted.curve_id}{key}>"
    except OptionError:
        return f"<malformed option {kind}: {data.hex()}>"
    if kind == SACK_KIND and seen.sacks:
        return f"<sack {' '.join(f'{left}:{right}' for left, right in seen.sacks)}>"
    if kind == _MSS and len(data) == 2:
        return f"<mss {int.from_bytes(data, 'big')}>"
    if kind == _WSCALE and len(data) == 1:
        return f"<wscale {data[0]}>"
    if kind == _SACK_PERMITTED:
        return "<sackOK>"
    if kind == _TIMESTAMP and len(data) == 8:
        return f"<timestamp {int.from_bytes(data[:4], 'big')} {int.from_bytes(data[4:], 'big')}>"
    name = "malformed options" if kind == MALFORMED else f"option {kind}"
    return f"<{name}: {data.hex()}>" if data else f"<{name}>"
