"""How many connections a second can be opened, used for one byte and closed: with Migrate, beside plain TCP."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import beside
from benchmarks.beside import Block
from benchmarks.hosts import Control, Pair
from benchmarks.measurement import Session
from benchmarks.programs import Program
from benchmarks.report import Row
from topologies.links import Veth

PORT = 5300
# Short, so that what else the machine does is the same for both blocks of a pair; the many pairs make up for it.
BLOCK_SECONDS = 0.25
PAIRS, QUICK_PAIRS = 80, 2


class SetupRate:
    name = "setup_rate"
    about = "connections opened, used for one byte and closed a second, beside plain TCP"

    def measure(self, session: Session) -> Sequence[Row]:
        count = session.count(PAIRS, QUICK_PAIRS)
        return [beside.compare(session, self.name, "connections/s", count, Veth(offload=True), _start)]


def _start(pair: Pair) -> Block:
    # The ports of the last minute are in TIME-WAIT; a host that opens so many is set up to use them again.
    pair.client.sysctl("net.ipv4.tcp_tw_reuse", 1)
    pair.client.sysctl("net.ipv4.ip_local_port_range", "10000 65535")
    Program(pair.server, "opener", "serve", pair.server_address, PORT)
    opener = Program(pair.client, "opener", "open", pair.server_address, PORT)
    if not Control(pair.client).is_absent():
        opener.ask("hold")
        beside.require_migratable(pair.client, PORT)

    def block() -> float:
        opened, seconds = opener.ask(str(BLOCK_SECONDS)).split()
        return int(opened) / float(seconds)

    block()  # what is done for the first time is slow
    return block
