"""The journal as a file: what one process wrote another reads, and nothing but that."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from migrate.core import FourTuple, TcpState
from migrate.linux.borrow import Holder
from migrate.linux.journal import Journal, Order, Phase
from tests.linux import lab
from tests.linux.test_checkpoint import image as some_image
from tests.topologies.inside import in_sandbox

PAIR = FourTuple(lab.ip("10.0.0.1"), 1, lab.ip("10.0.0.2"), 2)
ORDER = Order(PAIR, PAIR, 1, 500, False, True, b"", b"")
HOLDER = Holder(1, 2, 3)
linux = pytest.mark.skipif(os.uname().sysname != "Linux", reason="asks the kernel for its network namespace")


def written(path: Path) -> Journal:
    journal = Journal(path)
    journal.begin()
    journal.ports("1 2")
    journal.hurried({7: 0})
    for index in (0, 2):
        journal.take(index, ORDER, HOLDER, 1)
    journal.phase(2, Phase.REBUILT)
    return journal


def is_empty(path: Path) -> bool:
    """Behind its header it has nothing but zeros."""
    return not path.read_bytes()[16:].strip(b"\0")


@linux
def test_another_process_reads_it_and_writes_on(tmp_path: Path) -> None:
    written(tmp_path / "journal")
    other = Journal(tmp_path / "journal")
    story = other.read()
    assert (story.port_range, story.hurried) == ("1 2", {7: 0})
    assert {index: entry.phase for index, entry in story.entries.items()} == {0: Phase.TAKEN, 2: Phase.REBUILT}
    assert (story.entries[0].order, story.entries[0].holder) == (ORDER, HOLDER)
    other.phase(0, Phase.DONE)
    assert Journal(tmp_path / "journal").read().entries[0].phase is Phase.DONE


@linux
def test_what_is_over_leaves_nothing_in_it(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = written(path)
    journal.clear()
    assert is_empty(path)
    assert Journal(path).read().port_range is None
    journal.remove()
    assert not path.exists()


@linux
def test_data_as_they_are_and_no_more_of_the_file_than_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = written(path)
    image = replace(some_image(TcpState.ESTABLISHED, os.urandom(3 << 20)), recv_data=b"received")
    journal.image(0, image)
    other = Journal(path)
    assert other.read().entries[0].image == image
    other.clear()
    assert path.stat().st_size == 1 << 20
    assert is_empty(path)


@linux
def test_what_a_killed_process_has_half_written_does_not_stay_there(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    written(path)
    with path.open("r+b") as file:
        file.seek(50_000)
        file.write(b"half a record")
    other = Journal(path)
    other.read()
    other.clear()
    assert is_empty(path)


@in_sandbox
def test_a_record_without_room_is_refused_and_those_before_it_stand() -> None:
    small = Path("/run/small")
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "none", small], check=True)
    journal = written(small / "journal")
    with pytest.raises(OSError, match="No space left"):
        journal.image(0, some_image(TcpState.ESTABLISHED, os.urandom(200_000)))
    journal.phase(0, Phase.DONE)
    story = Journal(small / "journal").read()
    assert (story.entries[0].phase, story.entries[0].image) == (Phase.DONE, None)


@linux
def test_that_of_another_namespace_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    written(path)
    with path.open("r+b") as file:
        file.seek(8)
        file.write(bytes(8))  # the cookie of no namespace
    assert Journal(path).read().port_range is None


@linux
def test_one_that_others_may_write_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.touch(0o600)
    path.chmod(0o666)
    with pytest.raises(PermissionError, match="somebody else"):
        Journal(path)
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(OSError):
        Journal(tmp_path / "link")
