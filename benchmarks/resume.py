"""How long until all of a thousand connections flow again after their host's address has changed.

Both hosts are on this machine, with an unimpaired Ethernet between them, so that the processors do the work of both.
The clock starts when the old address goes and the new one comes, in one message to the kernel, and ends with the first
new byte that the last of the connections receives at the new address.  Each connection has something to say at once:
its program sends a few bytes on every connection right after the change and waits for their echoes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from analysis.capture import SYN, Packet
from benchmarks.hosts import Control, Mover, Place, pairs, serve
from benchmarks.measurement import NotMeasured, Session
from benchmarks.programs import Program
from benchmarks.recording import recordings
from benchmarks.report import Row
from benchmarks.targets import CONNECTIONS
from topologies.links import Veth

PORT = 5500
MOVES, QUICK_MOVES = 5, 2
BYTES_AT_MOVE, BYTES_AFTERWARDS = 64, 4096
SECOND_ADDRESS = "10.1.0.3"
PATIENCE_SECONDS = 180.0


class Resume:
    name = f"resume_{CONNECTIONS}"
    about = f"until {CONNECTIONS} connections flow again after a change of address"

    def measure(self, session: Session) -> Sequence[Row]:
        count = session.count(MOVES, QUICK_MOVES)
        session.step("building two hosts")
        times: list[float] = []
        syns: list[float] = []
        survivors: list[float] = []
        with pairs(1, Veth()) as (pair,):
            serve((pair.client, pair.server), session.work)
            places = [Place(pair.interface, address) for address in (pair.client_address, SECOND_ADDRESS)]
            mover = Mover(pair.client)
            Program(pair.server, "echo", PORT)
            session.step(f"opening {CONNECTIONS} connections")
            caller = Program(pair.client, "caller", pair.server_address, PORT, CONNECTIONS, patience=PATIENCE_SECONDS)
            _require(caller.ask(str(BYTES_AFTERWARDS)), "before any move")
            migratable = sum(row["migratable"] for row in Control(pair.client).connections(PORT))
            if migratable != CONNECTIONS:
                raise NotMeasured(f"only {migratable} of {CONNECTIONS} connections can migrate")
            for number in range(count):
                session.step(f"move {number + 1} of {count}")
                old, new = places[number % 2], places[1 - number % 2]
                work = session.work / str(number)
                work.mkdir()
                with recordings({pair.interface: pair.client}, work) as packets:
                    changed = mover.move(old, new)
                    intact = {int(caller.ask(str(BYTES_AT_MOVE))), int(caller.ask(str(BYTES_AFTERWARDS)))}
                survivors.append(min(intact))
                if min(intact) < CONNECTIONS:
                    break  # those that are lost resume never; how many they are is the row that says so
                arrivals = first_arrivals(packets, new.address)
                if len(arrivals) < CONNECTIONS:
                    raise NotMeasured(f"the capture shows {len(arrivals)} of {CONNECTIONS} connections")
                times.append(max(arrivals) - changed)
                syns.append(max(one.time for one in packets if one.flags & SYN and one.src == new.address) - changed)
        also = {"s to the last Migrate SYN, median": sorted(syns)[len(syns) // 2]} if syns else {}
        rows = [Row(f"{self.name}_survivors", "connections", survivors)]
        return [Row(self.name, "s", times, also), *rows] if times else rows


def _require(answer: str, when: str) -> None:
    if int(answer) != CONNECTIONS:
        raise NotMeasured(f"only {answer} of {CONNECTIONS} connections worked {when}")


def first_arrivals(packets: Iterable[Packet], address: str) -> list[float]:
    """When each connection's first data arrived at an address, by its port there.  Pure."""
    found: dict[int, float] = {}
    for packet in packets:
        if packet.dst == address and packet.length:
            found.setdefault(packet.dport, packet.time)
    return list(found.values())
