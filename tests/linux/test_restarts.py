"""What programs see of being held still, where they sleep under a seccomp filter."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from migrate.linux.freezer import Freezer
from tests.linux import lab
from tests.linux.kernel_state import assert_untouched
from tests.topologies.inside import in_sandbox

PROGRAM = Path(__file__).with_name("filtered.py")
WAYS = ("nanosleep", "poll", "futex")

pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="on other machines the kernel decides earlier")


@in_sandbox
def test_who_may_not_say_restart_syscall_sleeps_on() -> None:
    with lab.lab(on="") as place:
        for how in WAYS:
            sleeper = place.one.spawn([sys.executable, "-I", PROGRAM, how], stdout=subprocess.PIPE, text=True)
            assert sleeper.stdout is not None
            assert sleeper.stdout.readline() == "begins\n"
            freezer = Freezer(place.one.programs_cgroup)
            for _ in range(3):
                time.sleep(0.1)
                freezer.freeze()
                freezer.thaw()
            assert sleeper.stdout.readline() == "slept\n", (how, sleeper.poll())
            # By another than has frozen them, as after a worker's death.
            freezer.freeze()
            Freezer(place.one.programs_cgroup).thaw()
            assert sleeper.stdout.readline() == "slept\n", (how, sleeper.poll())
            assert sleeper.poll() is None
            sleeper.kill()
            sleeper.wait()
        assert_untouched(place.one)
