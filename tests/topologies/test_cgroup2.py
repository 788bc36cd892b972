from __future__ import annotations

import subprocess
from pathlib import Path

from tests.topologies.inside import in_sandbox
from topologies import cgroup2

HYBRID = """31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
34 31 0:31 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
PURE = "30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
CONTAINER = "500 490 0:26 / /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime - cgroup2 cgroup rw\n"
ODD = "30 23 0:26 / /a\\040place rw shared:4 master:7 - cgroup2 none rw\n"


def test_where_it_is_mounted() -> None:
    assert cgroup2.mounted(HYBRID) == [Path("/sys/fs/cgroup/unified")]
    assert cgroup2.mounted(PURE) == [Path("/sys/fs/cgroup")]
    assert cgroup2.mounted(ODD) == [Path("/a place")]


def test_a_read_only_mount_does_not_count() -> None:
    assert cgroup2.mounted(CONTAINER) == []


def test_nothing_is_removed_where_nothing_is(tmp_path: Path) -> None:
    assert cgroup2.remove(tmp_path / "never")


@in_sandbox
def test_remove_ends_every_process_in_the_tree_frozen_ones_too() -> None:
    top = Path("/sys/fs/cgroup/top")
    deep = top / "a" / "b"
    deep.mkdir(parents=True)
    enter = f'echo 0 > {deep}/cgroup.procs; trap "" TERM INT HUP; echo in; while :; do sleep 1; done'
    child = subprocess.Popen(["sh", "-c", enter], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    assert child.pid in cgroup2.processes(deep)
    (top / "cgroup.freeze").write_text("1")
    assert cgroup2.remove(top)
    assert not top.exists()
    assert child.wait(5) == -9


@in_sandbox
def test_remove_without_cgroup_kill() -> None:
    """As on Linux before 5.14."""
    top = Path("/sys/fs/cgroup/top")
    top.mkdir()
    fork = f"echo 0 > {top}/cgroup.procs; (sleep 100; :) & sleep 100 & echo in; wait"
    child = subprocess.Popen(["sh", "-c", fork], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    written = Path.write_text

    def refuse(path: Path, data: str) -> int:
        if path.name == "cgroup.kill":
            raise FileNotFoundError(2, "No such file or directory")
        return written(path, data)

    Path.write_text = refuse  # type: ignore[method-assign,assignment]
    assert cgroup2.remove(top)
    assert child.wait(5) == -9


def test_remove_gives_up_and_says_so(tmp_path: Path) -> None:
    """A directory that cannot be removed, as a cgroup with a process in state D."""
    (tmp_path / "top").mkdir()
    (tmp_path / "top" / "file").touch()
    assert not cgroup2.remove(tmp_path / "top", patience=0.05)
