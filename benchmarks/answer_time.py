"""How long a host takes to answer a Migrate SYN: from arrival to SYN/ACK in a capture at that host."""

from __future__ import annotations

from collections.abc import Sequence

from analysis import measures, stream
from benchmarks.hosts import PREFIX_LENGTH, Control, pairs, serve
from benchmarks.measurement import NotMeasured, Session
from benchmarks.programs import Program
from benchmarks.recording import recordings
from benchmarks.report import Row
from topologies.links import Veth

PORT = 5400
MOVES, QUICK_MOVES = 200, 10
BYTES = 100
SECOND_ADDRESS = "10.1.0.3"


class AnswerTime:
    """One connection that is idle between its moves; its client has two addresses and moves to and fro."""

    name = "answer_time"
    about = "a host's own time from Migrate SYN to SYN/ACK"

    def measure(self, session: Session) -> Sequence[Row]:
        count = session.count(MOVES, QUICK_MOVES)
        session.step("building two hosts")
        with pairs(1, Veth()) as (pair,):
            pair.client.add_address(pair.interface, f"{SECOND_ADDRESS}/{PREFIX_LENGTH}")
            serve((pair.client, pair.server), session.work)
            Program(pair.server, "echo", PORT)
            control = Control(pair.client)
            with recordings({f"{pair.server.name}-eth0": pair.server}, session.work) as packets:
                caller = Program(pair.client, "caller", pair.server_address, PORT, 1)
                for number in range(count):
                    session.step(f"move {number + 1} of {count}")
                    control.ask(do="migrate", to=(SECOND_ADDRESS, pair.client_address)[number % 2])
                    # What is sent now waits for the end of the move, so that its answer tells of that end.
                    if caller.ask(str(BYTES)) != "1":
                        raise NotMeasured(f"the connection did not survive move {number + 1}")
        found = [move for each in stream.join(packets) for move in measures.moves(each)]
        if len(found) != count:
            raise NotMeasured(f"the capture shows {len(found)} moves instead of {count}")
        repeated = sum(move.answer_time > 0.5 for move in found)
        also = {"handshake, median ms": 1000 * sorted(move.handshake_time for move in found)[len(found) // 2],
                "answers after a second SYN": repeated}  # fmt: skip
        return [Row(self.name, "ms", [move.answer_time * 1000 for move in found], also)]
