"""The mobile's old address is given to another host, whose kernel resets what it does not know (slides 13, 20, 22).

Three runs, each in a topology of its own:

    back      the mobile comes back elsewhere: the server has waited in silence, and goes on
    gone      it does not: after 2MSL the server's programs see a reset
    newcomer  the stranger opens connections of its own to the same server, one from the mobile's old port
"""

from __future__ import annotations

import time

from migrate.core import ACK, SYN, Segment
from scenarios import needs, reassigned_traces
from scenarios.base import Context, Scenario
from scenarios.overhearing import Ear
from scenarios.programs import (
    Migrated,
    Nginx,
    PythonServer,
    checksum,
    wait_until_closed,
)
from scenarios.reassigned_seen import Back, Gone, Newcomer, NewcomerOutcome
from scenarios.reassigned_stage import (
    PATIENCE_SECONDS,
    first_seen,
    lose_address,
    numbers_of,
    retransmission_timeout,
    send,
    stage_of,
)
from scenarios.verdict import Check

OBJECT_BYTES = 400_000
LONG_OBJECT_BYTES = 8_000_000
"""More than a send buffer takes, so that a program has still something to write when its connection ends."""
AWAY_AT_BYTES = 100_000
SILENT_RTOS = 5
"""How long the mobile stays away once the server waits, in its retransmission timeouts."""
INEXACT = (1, -1, 20_000)
"""Where RSTs are tried, beyond rcv_nxt: in the window, before it, farther in it."""
SHORT_MSL = 2.0
"""Seconds; where nobody comes back, so that the end is seen soon."""


class ReassignedScenario(Scenario):
    name = "reassigned"
    claim = (
        "A stranger at the old address, whose kernel answers with RST, ends nothing that comes back (slides 13, 20, 22)"
    )
    needs = (
        *needs.TOPOLOGY,
        *needs.MIGRATE,
        *needs.DOWNLOAD,
        needs.Program("tshark"),
    )

    def run(self, context: Context) -> list[Check]:
        return [*self.back(context), *self.gone(context), *self.newcomer(context)]

    # --- the mobile comes back ----------------------------------------------------------------------------------------

    def back(self, context: Context) -> list[Check]:
        """The server waits in silence while a stranger has the address, and goes on where the mobile comes back."""
        with stage_of(context, "back", {"object": OBJECT_BYTES}) as stage:
            context.step("back: downloading at location 1")
            download = stage.download("object")
            with Ear(stage.topology.server, "server-eth0") as ear:
                download.wait_for(AWAY_AT_BYTES // 2, PATIENCE_SECONDS)
                mobile = stage.topology.mobile_address
                before = numbers_of(ear, mobile)
                resets = [before.reset(beyond) for beyond in INEXACT]
                tried_at = time.time()
                send(stage.topology.base, resets)
                download.wait_for(AWAY_AT_BYTES, PATIENCE_SECONDS)
                lost_at, given_at, numbers = lose_address(stage, ear)
            context.step("back: the stranger has the address")
            [waiting] = stage.wait_until_reset()
            timeout = retransmission_timeout(stage, numbers)
            further = [numbers.reset(), numbers.reset(), numbers.reset(1)]
            time.sleep(timeout)  # the stranger's kernel has no more to answer by then
            tried_again_at = time.time()
            send(stage.topology.stranger, further)
            time.sleep(SILENT_RTOS * timeout)
            context.step("back: the mobile is at location 2")
            arrived_at = time.time()
            stage.topology.arrive("loc2")
            status = download.finish(PATIENCE_SECONDS)
            wait_until_closed((stage.topology.mobile, stage.topology.server), PATIENCE_SECONDS)
            place = stage.topology.locations
            addresses = (place["loc1"].address, place["loc2"].address, stage.topology.server_address)
        context.step("back: reading the captures")
        seen = Back(
            addresses=addresses,
            round_trip=stage.round_trip,
            lost_at=lost_at,
            given_at=given_at,
            arrived_at=arrived_at,
            rcv_nxt=numbers.rcv_nxt,
            retransmission_timeout=timeout,
            inexact=len(resets),
            tried_at=(tried_at, tried_again_at),
            further=len(further),
            waiting=waiting,
            server_events=tuple(stage.server_events.told),
            mobile_events=tuple(stage.mobile_events.told),
            object_bytes=OBJECT_BYTES,
            exit_status=status,
            wanted=stage.wanted["object"],
            got=checksum(stage.out / "object"),
        )
        return reassigned_traces.back(context, stage.out, seen)

    # --- nobody comes back --------------------------------------------------------------------------------------------

    def gone(self, context: Context) -> list[Check]:
        """After 2MSL without the mobile, both of the server's programs see a reset."""
        options = ("--msl", str(SHORT_MSL))
        with stage_of(context, "gone", {"object": LONG_OBJECT_BYTES}, options, "info") as stage:
            python = PythonServer(stage.topology.server, stage.out / "www", stage.out / "http.server.log")
            context.step("gone: two downloads at location 1")
            downloads = [
                stage.download("object", as_="from-nginx"),
                stage.download("object", as_="from-python", port=PythonServer.PORT),
            ]
            with Ear(stage.topology.server, "server-eth0") as ear:
                for download in downloads:
                    download.wait_for(AWAY_AT_BYTES, PATIENCE_SECONDS)
                lost_at, given_at, _ = lose_address(stage, ear)
            context.step("gone: the stranger has the address, and keeps it")
            logs = {
                "nginx": (stage.nginx.log, "104: Connection reset by peer"),
                "http.server": (python.log, "[Errno 104]"),
            }
            waiting = stage.wait_until_reset(len(downloads))
            told_at = first_seen(logs, 2 * SHORT_MSL + PATIENCE_SECONDS)
            for one in waiting:
                stage.wait_for_end(one.connection)
            left = stage.topology.server.run(["ss", "-Htn", "state", "established"]).stdout.splitlines()
            unaware = [download.running for download in downloads]
            place = stage.topology.locations["loc1"]
            addresses = (place.address, stage.topology.server_address)
        context.step("gone: reading the captures")
        seen = Gone(
            addresses=addresses,
            round_trip=stage.round_trip,
            lost_at=lost_at,
            given_at=given_at,
            msl=SHORT_MSL,
            waiting={told.connection: told for told in waiting},
            ports={Nginx.PORT: "nginx", PythonServer.PORT: "http.server"},
            told_at=told_at,
            server_events=tuple(stage.server_events.told),
            mobile_events=tuple(stage.mobile_events.told),
            left=len(left),
            mobiles_running=sum(unaware),
        )
        return reassigned_traces.gone(context, stage.out, seen)

    # --- the stranger has connections of its own ----------------------------------------------------------------------

    def newcomer(self, context: Context) -> list[Check]:
        """The stranger's connections and the mobile's leave each other alone."""
        objects = {"object": OBJECT_BYTES, "other-port": OBJECT_BYTES // 2, "same-port": OBJECT_BYTES // 2}
        with stage_of(context, "newcomer", objects) as stage:
            topology = stage.topology
            Migrated(topology.stranger, stage.out)
            context.step("newcomer: the mobile downloads at location 1")
            download = stage.download("object")
            with Ear(topology.server, "server-eth0") as ear:
                download.wait_for(AWAY_AT_BYTES, PATIENCE_SECONDS)
                lost_at, _, numbers = lose_address(stage, ear)
                [waiting] = stage.wait_until_reset()
                context.step("newcomer: the stranger downloads too, from the old address")
                port = numbers.remote[1]
                same = stage.download("same-port", "--local-port", str(port), stranger=True)
                other = stage.download("other-port", stranger=True)
                other_status = other.finish(PATIENCE_SECONDS)
                other_finished_at = time.time()
                # The second SYN with the old port: the first has found the four numbers taken.

                def opening(one: Segment) -> bool:
                    ends = (str(one.src), one.sport, one.dport)
                    return one.flags & (SYN | ACK) == SYN and ends == (numbers.remote[0], port, Nginx.PORT)

                for _ in range(2):
                    ear.wait_for(opening, PATIENCE_SECONDS)
            context.step("newcomer: the mobile is at location 2")
            arrived_at = time.time()
            topology.arrive("loc2")
            status, same_status = download.finish(PATIENCE_SECONDS), same.finish(PATIENCE_SECONDS)
            wait_until_closed((topology.mobile, topology.stranger, topology.server), PATIENCE_SECONDS)
            place = topology.locations
            addresses = (place["loc1"].address, place["loc2"].address, topology.server_address)
        context.step("newcomer: reading the captures")
        seen = Newcomer(
            addresses=addresses,
            round_trip=stage.round_trip,
            lost_at=lost_at,
            arrived_at=arrived_at,
            waiting=waiting,
            port=port,
            other_finished_at=other_finished_at,
            server_events=tuple(stage.server_events.told),
            mobile_events=tuple(stage.mobile_events.told),
            outcomes={
                name: NewcomerOutcome(objects[name], code, stage.wanted[name], checksum(stage.out / name))
                for name, code in (("object", status), ("other-port", other_status), ("same-port", same_status))
            },
        )
        return reassigned_traces.newcomer(context, stage.out, seen)
