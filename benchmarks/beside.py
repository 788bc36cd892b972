"""A figure of migratable connections beside the same figure of plain TCP, in one run.

Two pairs of hosts, alike in all but one thing: migrated serves one of them, at both ends.  Short blocks alternate
between the two, and every so often all is built anew with migrated at the other pair: neither a pair's place counts
then, nor where the kernel has happened to put one connection's processes and memory.  That is fairer than one pair with
migrated loaded and unloaded in turn: what unloading leaves would count as plain, and the blocks would lie as far apart
as the start of a program takes.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable

from benchmarks import figures
from benchmarks.hosts import Control, Pair, pairs, serve
from benchmarks.measurement import NotMeasured, Session
from benchmarks.report import Row
from topologies.links import Veth
from topologies.nodes import Host

SITTINGS = 6

Block = Callable[[], float]
"""Measures one short block; more is better."""
Start = Callable[[Pair], Block]
"""Starts the programs on a pair of hosts."""


def compare(session: Session, name: str, unit: str, count: int, spec: Veth, start: Start) -> Row:
    """The ratio of Migrate to plain TCP, block pair by block pair; `unit` is that of a block."""
    measured: list[tuple[float, float]] = []
    for number, length in enumerate(figures.shares(count, SITTINGS)):
        measured += _sitting(session, length, number % 2, spec, start, f"of {count}", len(measured))
    ours, plain = zip(*measured, strict=True)
    also = {f"{unit} with Migrate": statistics.median(ours), "plain": statistics.median(plain)}
    return Row(name, "of plain TCP", figures.pair_ratios(measured), also)


def _sitting(
    session: Session, count: int, migrated_at: int, spec: Veth, start: Start, of: str, done: int
) -> list[tuple[float, float]]:
    session.step("building two pairs of hosts")
    with pairs(2, spec) as made:
        ours, plain = made[migrated_at], made[1 - migrated_at]
        daemons = serve((ours.client, ours.server), session.work)
        if not Control(plain.client).is_absent():
            raise NotMeasured("the plain pair has a migrated too: the comparison says nothing")
        blocks = {True: start(ours), False: start(plain)}
        measured = []
        for number in range(count):
            session.step(f"pair of blocks {done + number + 1} {of}")
            values = {migrating: blocks[migrating]() for migrating in figures.order(number)}
            measured.append((values[True], values[False]))
        for daemon in daemons:
            daemon.stop()  # which says so if it has not lived until now
        return measured


def require_migratable(host: Host, port: int) -> None:
    """Raises `NotMeasured` unless every connection to this port, and at least one, can migrate."""
    seen = Control(host).connections(port)
    if not seen or not all(row["migratable"] for row in seen):
        raise NotMeasured(f"{len(seen)} connections of {host.name} were there and not all of them can migrate")
