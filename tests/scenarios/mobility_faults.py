"""Ways to spoil a good run of `mobility`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from analysis.capture import ACK, FIN
from migrate.core import keys
from migrate.core.options import Migrate
from tests.analysis import made_trace as made
from tests.analysis.made_trace import MSS, NA, NI, Row
from tests.analysis.test_faults import Fault, change, migrate
from tests.scenarios.mobility_seen import DIAGRAMS, Run

Spoil = Callable[[Run], None]
OLD_QUEUE = NA + 1 + 12 * MSS  # the first byte that the mobile has not received when it moves


def at(vantage: str, *faults: Fault) -> Spoil:
    """Faults in the rows of one vantage point, or of "both"."""

    def spoil(run: Run) -> None:
        for place in DIAGRAMS if vantage == "both" else (vantage,):
            for fault in faults:
                run.rows[place] = fault(run.rows[place])

    return spoil


def forge(**fields: int | bytes) -> Spoil:
    """Another Migrate option or S, as both see it."""
    return at("both", migrate(**fields))  # type: ignore[arg-type]


def without(chosen: Callable[[Row], bool]) -> Fault:
    return lambda rows: [row for row in rows if not chosen(row)]


def each(chosen: Callable[[Row], bool], **steps: int) -> Fault:
    """Numbers of the rows that are chosen are off by so much."""

    def spoil(rows: list[Row]) -> list[Row]:
        return [
            replace(row, **{key: getattr(row, key) + step for key, step in steps.items()}) if chosen(row) else row
            for row in rows
        ]

    return spoil


def buffered(row: Row) -> bool:
    """Sent to the old address, and not received there."""
    return row.tag == "data" and row.seq >= OLD_QUEUE


def after_the_move(row: Row) -> bool:
    return row.tag in ("8", "new", "last")


def slower_before(factor: float) -> Spoil:
    """What comes to the old address before the move takes so many times as long; everything else follows later."""

    def spoil(run: Run) -> None:
        rows = run.rows["mobile"]
        times = [row.time for row in rows if row.tag in ("data", "ack") and not buffered(row)]
        first, last = min(times), max(times)

        def moved(time: float) -> float:
            return time + (factor - 1) * (min(max(time, first), last) - first)

        run.rows["mobile"] = [replace(row, time=moved(row.time)) for row in rows]
        run.moved_at = moved(run.moved_at)

    return spoil


def slower_queue(factor: float) -> Fault:
    """The buffered packets alone follow each other more slowly."""

    def spoil(rows: list[Row]) -> list[Row]:
        first = min(row.time for row in rows if buffered(row))
        spread = [replace(row, time=first + factor * (row.time - first)) if buffered(row) else row for row in rows]
        return sorted(spread, key=lambda row: row.time)

    return spoil


def window(size: Callable[[int], int]) -> Fault:
    """After the move so many packets are outstanding once n are acknowledged, instead of slow start's 2 + n.

    Only when each leaves the server differs: the modem, which is slower, brings them as before."""

    def spoil(rows: list[Row]) -> list[Row]:
        sent = [row for row in rows if after_the_move(row)]
        acks = [row.time for row in rows if row.tag == "new-ack"]
        let_out = [sent[0].time] * size(0)
        for acked, time in enumerate(acks, 1):
            let_out += [time + 0.00001] * (acked + size(acked) - len(let_out))
        times = {id(row): time for row, time in zip(sent, let_out, strict=False)}
        return sorted((replace(row, time=times.get(id(row), row.time)) for row in rows), key=lambda row: row.time)

    return spoil


def linear(acked: int) -> int:
    """The window of congestion avoidance: one packet more with each window that is acknowledged."""
    size = 2
    while acked >= size:
        acked -= size
        size += 1
    return size


def close_early(rows: list[Row]) -> list[Row]:
    """The mobile's FIN comes with half of the data still to come; nothing else is wrong with that."""
    early = [row for row in rows if row.tag == "new-ack"][10]
    return [replace(row, flags=FIN | ACK) if row is early else row for row in rows]


# What the run knows beside the traces.


def another_private_key(run: Run) -> None:
    run.keys[made.SERVER.public] = bytes(23) + b"\x44"


def no_keys(run: Run) -> None:
    run.keys.clear()


def one_key_pair_for_both(run: Run) -> None:
    secret = keys.shared_secret(made.MOBILE.private, made.MOBILE.public)
    s = NI + made.REQUEST_BYTES
    option = Migrate(False, 1, keys.token(NI, NA, secret), made.proof(s, 1, secret)).encode()
    at("both", change("2", options=made.syn_options(made.MOBILE.public)), change("5", options=option))(run)


def stranger(vantage: str, nth: int) -> Spoil:
    """One segment of another connection."""

    def spoil(run: Run) -> None:
        row = run.rows[vantage][nth]
        run.strangers[vantage] = [replace(row, sport=row.sport + 1000, dport=row.dport + 1000, time=row.time + 0.0001)]

    return spoil


def proxied(run: Run) -> None:
    """The server's connection is not the mobile's, and each is right in itself."""
    step, five = 5000, next(row for row in run.rows["server"] if row.tag == "5")
    na = (NA + step) % 2**32
    request = keys.request(NI, na, made.SECRET, five.seq % 2**32, 1, 1)
    option = Migrate(False, 1, keys.token(NI, na, made.SECRET), request).encode()
    down = each(lambda row: row.sport == 80, seq=step)
    up = each(lambda row: row.sport != 80, ack=step)
    at("server", down, up, change("5", options=option))(run)


def elsewhere(run: Run) -> None:
    run.addresses = (run.addresses[0], "10.0.3.2", run.addresses[2])


def in_place(run: Run) -> None:
    """The mobile migrates to the address that it has."""
    for vantage in DIAGRAMS:
        run.rows[vantage] = [
            replace(row, src=row.src.replace(made.NEW4, made.OLD4), dst=row.dst.replace(made.NEW4, made.OLD4))
            for row in run.rows[vantage]
        ]


def larger_object(run: Run) -> None:
    run.object_bytes = run.setting.total * MSS + 1
