"""What a host's kernel says of itself: its counters, and whether it is as it was before migrated did anything there."""

from __future__ import annotations

import os

from tests.linux.lab import VERSIONS, until
from topologies.nodes import Host

DEFAULT_PORT_RANGE = "32768\t60999"


def counters(host: Host, *names: str) -> dict[str, int]:
    """The kernel's own counters (nstat) of this host since it was made."""
    said = host.run(["nstat", "-asz", *names], daemon=True).stdout
    found = {
        words[0]: int(words[1]) for line in said.splitlines() if len(words := line.split()) == 3 and words[0] != "#"
    }
    assert set(names) <= set(found), f"nstat knows no {set(names) - set(found)}"
    return {name: found[name] for name in names}


def assert_untouched(host: Host) -> None:
    """Nothing is held still, and nothing of a rebind is left: port range, rules, routes, schedules.  A daemon takes
    some of that away only when its programs run again."""
    left: list[str] = []

    def look() -> bool:
        left[:] = _touched(host)
        return not left

    try:
        until(look, "as it was")
    except AssertionError as error:
        raise AssertionError(f"{host.name}: {'; '.join(left)}: {error}") from None


def _touched(host: Host) -> list[str]:
    """What is not as it was, in words."""
    cgroup, found = host.programs_cgroup, []
    if (cgroup / "cgroup.freeze").read_text().strip() != "0" or "frozen 0" not in (
        cgroup / "cgroup.events"
    ).read_text():
        found.append("its programs are held still")
    for pid in map(int, (cgroup / "cgroup.procs").read_text().split()):
        if os.sched_getscheduler(pid) != os.SCHED_OTHER:
            found.append(f"program {pid} goes before all others")
    for name, usual in (("local_port_range", DEFAULT_PORT_RANGE), ("unprivileged_port_start", "1024")):
        if (now := host.sysctl(f"net.ipv4.ip_{name}")) != usual:
            found.append(f"{name} is {now}")
    for version in VERSIONS:
        if "49374" in host.ip(f"-{version}", "rule"):
            found.append("a rule of a rebind is left")
        if "table 49374" in host.ip(f"-{version}", "route", "show", "table", "all"):
            found.append("a route of a rebind is left")
    return found
