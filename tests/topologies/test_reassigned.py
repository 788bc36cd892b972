from __future__ import annotations

import time
from pathlib import Path
from typing import Literal

import pytest

from tests.topologies import web
from tests.topologies.inside import in_sandbox
from tests.topologies.test_mobility import lines
from topologies.links import Cable
from topologies.nodes import NodeError
from topologies.reassigned import Reassigned

QUICK = Cable(rate_bps=400_000, delay_s=0.02, queue_packets=100)


@in_sandbox
def test_the_address_is_the_strangers_and_its_kernel_resets_what_it_does_not_know() -> None:
    versions: tuple[Literal[4, 6], ...] = (4, 6)
    for version in versions:
        with Reassigned(ip=version, modem=QUICK) as lab:
            with pytest.raises(NodeError, match="the mobile is at loc1"):
                lab.give_away()
            web.serve(lab.server, lab.server_address, 200_000)
            captures = lab.capture(Path("/run"))
            web.RECEIVED.unlink(missing_ok=True)
            web.fetch(lab.mobile, lab.server_address)
            while not web.RECEIVED.exists() or web.RECEIVED.stat().st_size < 40_000:
                time.sleep(0.01)
            old = lab.mobile_address
            lab.leave()
            assert lab.give_away() == old
            assert old in lab.stranger.ip("address")
            lab.stranger.run(["ping", "-c", "1", "-W", "10", lab.server_address])
            lab.arrive("loc2")
            lab.mobile.run(["ping", "-c", "1", "-W", "10", lab.server_address])
            end = time.monotonic() + 20
            # Its program may have written all and closed by now: the connection is there until it has been reset.
            while lab.server.run(["ss", "-Htan", "exclude", "listening", "exclude", "time-wait"]).stdout:
                assert time.monotonic() < end, "nothing has reset the server's connection"
                time.sleep(0.1)
            reset = [line for line in lines(captures["stranger"], "tcp") if "Flags [R]" in line]
            assert reset, "the server's next segment reaches the stranger, whose kernel has no such connection"
            assert f"{old}." in reset[0]
