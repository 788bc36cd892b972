"""Before and after: a sandbox leaves nothing, however it ends.

The machine that is looked at is itself a sandbox, in which nothing else happens meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import bpf
from tests.topologies.inside import in_sandbox
from topologies.sandbox import run_in_sandbox

SECONDS = 5.0
MAP = f"lab{secrets.token_hex(4)}"  # eBPF maps are the whole machine's: this name tells ours from other tests'


def look() -> dict[str, object]:
    """Everything that a run could leave on a machine."""
    processes = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    namespaces = set()
    for process in processes:
        with contextlib.suppress(OSError):  # it has just ended
            namespaces |= {(process / "ns" / kind).readlink() for kind in ("net", "mnt")}
    return {
        "processes": sorted(process.name for process in processes),
        "namespaces": sorted(namespaces),
        "links": said("ip", "-brief", "link"),
        "named namespaces": said("ip", "netns"),
        "cgroups": sorted(folder for folder, _, _ in os.walk("/sys/fs/cgroup")),
        "pins": sorted(str(path) for path in Path("/sys/fs/bpf").rglob("*") if "debug" not in path.name),
        "mounts": Path("/proc/self/mountinfo").read_text().splitlines(),
        "nft": said("nft", "list", "ruleset"),
        "eBPF maps": bpf.maps(MAP),
        "sysctls": {name: Path("/proc/sys", name).read_text() for name in ("kernel/hostname", "net/core/somaxconn")},
    }


def said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def start(*arguments: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "tests.topologies.messy", MAP, *arguments]
    process: subprocess.Popen[str] = run_in_sandbox(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    ready = process.stdout.readline()
    assert ready.startswith("ready"), process.communicate(timeout=20)
    return process


def family(outer: int) -> tuple[int, int]:
    """The sandbox's reaper and its process 1, seen from outside."""
    children = [int(pid) for pid in Path(f"/proc/{outer}/task/{outer}/children").read_text().split()]
    inits = [pid for pid in children if os.readlink(f"/proc/{pid}/ns/pid") != os.readlink(f"/proc/{outer}/ns/pid")]
    (reaper,) = set(children) - set(inits)
    return reaper, inits[0]


def kill_inner(process: subprocess.Popen[str]) -> None:
    os.kill(family(process.pid)[1], signal.SIGKILL)


def kill_reaper_then_outer(process: subprocess.Popen[str]) -> None:
    reaper = family(process.pid)[0]
    os.kill(reaper, signal.SIGKILL)
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        with contextlib.suppress(ValueError, OSError):  # for a moment there is none
            if family(process.pid)[0] != reaper:
                process.kill()
                return
    raise AssertionError("the outer process starts no new reaper")


def kill_group(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGKILL)


def goes_away(before: dict[str, object], seconds: float = SECONDS) -> None:
    end = time.monotonic() + seconds
    while (after := look()) != before and time.monotonic() < end:
        time.sleep(0.02)
    for what, value in before.items():
        assert after[what] == value, f"{what}: {after[what]} instead of {value}"


def ends_by(
    end: Callable[[subprocess.Popen[str]], None], codes: tuple[int, ...], *arguments: str, seconds: float = SECONDS
) -> None:
    before = look()
    process = start(*arguments)
    assert look() != before, "the look sees nothing: it could not fail"
    end(process)
    process.communicate(timeout=20)
    assert process.returncode in codes, process.returncode
    goes_away(before, seconds)


@in_sandbox
def test_nothing_is_left_after_an_orderly_end() -> None:
    before = look()
    process = start("end")
    process.communicate(timeout=20)
    assert process.returncode == 0
    assert look()["cgroups"] == before["cgroups"], "what the outer process can remove is gone before it ends"
    goes_away(before)


@in_sandbox
def test_nothing_is_left_after_an_exception() -> None:
    before = look()
    process = start("raise")
    assert "on purpose" in process.communicate(timeout=20)[1]
    assert process.returncode == 1
    goes_away(before)


@in_sandbox
def test_nothing_is_left_after_sigint() -> None:
    ends_by(lambda process: process.send_signal(signal.SIGINT), (1, 130))


@in_sandbox
def test_nothing_is_left_after_sigterm() -> None:
    ends_by(lambda process: process.terminate(), (143,))


@in_sandbox
def test_nothing_is_left_after_kill_9_of_the_outer_process() -> None:
    ends_by(lambda process: process.kill(), (-9,))


@in_sandbox
def test_nothing_is_left_after_kill_9_of_process_1() -> None:
    ends_by(kill_inner, (137,))


@in_sandbox
def test_nothing_is_left_after_kill_9_of_the_process_group() -> None:
    ends_by(kill_group, (-9,))


@in_sandbox
def test_nothing_is_left_after_kill_9_of_the_reaper_and_then_of_the_outer_process() -> None:
    ends_by(kill_reaper_then_outer, (-9,))


@in_sandbox
def test_a_connection_that_holds_an_interface_ends_with_a_killed_run() -> None:
    """By itself it would be there for minutes, and with it a process that is being killed and removes the interface."""
    ends_by(lambda process: process.kill(), (-9,), "hold", "120000")


@in_sandbox
def test_what_a_connection_holds_is_waited_for() -> None:
    """Nobody is left to end it."""
    seconds = 8
    began = time.monotonic()
    ends_by(kill_group, (-9,), "hold", str(1000 * seconds), seconds=30)
    assert time.monotonic() - began > seconds, "it held nothing: this shows nothing"


@in_sandbox
def test_the_look_would_see_what_is_left() -> None:
    before = look()
    sleeper = subprocess.Popen(["sleep", "100"])
    Path("/sys/fs/cgroup/left").mkdir()
    Path("/sys/fs/bpf/left").mkdir()
    subprocess.run(["ip", "link", "add", "left", "type", "veth", "peer", "right"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/mnt"], check=True)
    bpf.pin_new_map(MAP, Path("/sys/fs/bpf/left/map"))
    subprocess.run(["nft", "add table inet left"], check=True)
    after = look()
    sleeper.kill()
    changed = {what for what in before if before[what] != after[what]}
    assert changed >= {"processes", "links", "cgroups", "pins", "mounts", "eBPF maps", "nft"}, changed


@pytest.mark.kernel
def test_on_the_machine_itself_the_cgroup_goes_with_a_killed_sandbox() -> None:
    from topologies import cgroup2

    place = cgroup2.root()
    process = run_in_sandbox(["sh", "-c", "echo ready; sleep 1000"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    (directory,) = place.glob(f"migrate-lab-{process.pid}-*")
    process.kill()
    process.communicate(timeout=10)
    end = time.monotonic() + SECONDS
    while directory.exists() and time.monotonic() < end:
        time.sleep(0.01)
    assert not directory.exists()
