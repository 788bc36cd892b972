"""What programs have open is looked through once; what has changed by the time of the rebind is seen all the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from migrate.linux import descriptors
from migrate.linux.borrow import Holder, processes
from migrate.linux.descriptors import Descriptors
from tests.linux import lab
from tests.topologies.inside import in_sandbox

CGROUP = Path("/sys/fs/cgroup/programs")
PROGRAM = """
import select, socket, sys
kept = []
for line in sys.stdin:
    kept.append(select.epoll() if line.strip() == "ring" else socket.socket())
    print(kept[-1].fileno(), flush=True)
"""


class Program:
    """It opens what it is told to; an epoll descriptor stands for a ring, which not every kernel lets one have."""

    def __init__(self, cgroup: Path) -> None:
        cgroup.mkdir(parents=True)
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([sys.executable, "-c", PROGRAM], stdin=pipe, stdout=pipe, text=True)
        (cgroup / "cgroup.procs").write_text(str(self.process.pid))
        self.pid = self.process.pid

    def opens(self, what: str) -> Holder:
        assert self.process.stdin
        assert self.process.stdout
        print(what, file=self.process.stdin, flush=True)
        fd = int(self.process.stdout.readline())
        return Holder(self.pid, fd, os.stat(f"/proc/{self.pid}/fd/{fd}").st_ino)


@in_sandbox
def test_one_look_and_a_glance() -> None:
    descriptors.RING, descriptors._waits = "anon_inode:[eventpoll]", lambda pid, ring: True
    first, second = Program(CGROUP), Program(CGROUP / "below" / "deeper")
    assert sorted(processes(CGROUP)) == sorted([first.pid, second.pid])
    sockets = [first.opens("socket"), second.opens("socket")]
    inodes = [each.inode for each in sockets]
    seen = Descriptors(CGROUP)
    assert seen.look() == set()
    assert seen.holders([*inodes, 7]) == {each.inode: each for each in sockets}
    assert seen.now([first.pid, second.pid]) == set()
    second.opens("ring")
    assert seen.now([first.pid]) == set(), "nobody has asked about the other"
    assert seen.now([second.pid]) == {inodes[1]}
    sockets.append(first.opens("socket"))
    assert sockets[2].inode not in seen.holders([sockets[2].inode])
    assert seen.look() == {inodes[1]}
    assert seen.holders([sockets[2].inode]) == {sockets[2].inode: sockets[2]}
    for program in (first, second):
        program.process.kill()
        program.process.wait()
    assert seen.now([first.pid, second.pid]) == set()
    lab.until(lambda: processes(CGROUP) == [], "they are gone")
    assert processes(CGROUP / "never") == []
