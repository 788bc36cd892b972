"""What migrated has in use, told to the byte, and what it gives back."""

from __future__ import annotations

import ctypes
import os

import pytest

from migrate.daemon import memory
from scenarios.soak import leaks
from tests.linux import lab
from tests.topologies.inside import in_sandbox

MODULE = "tests.linux.sweeping"
LARGE = 3_000_000


def in_use() -> int:
    """The second answer: the first may be the first of all."""
    memory.in_use()
    return memory.in_use()


@pytest.mark.parametrize(("size", "count"), [(100, 1000), (400, 1000), (4000, 100), (300_000, 100)])
def test_what_is_kept_is_counted(size: int, count: int) -> None:
    before = in_use()
    kept = [bytes(size) for _ in range(count)]
    with_them = in_use()
    del kept
    without = in_use()
    assert with_them - before == pytest.approx(count * (size + 33 + 8), rel=0.15)
    assert without - before == pytest.approx(0, abs=2000)


def test_what_a_library_keeps_is_counted() -> None:
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    before = in_use()
    kept = [libc.malloc(2000) for _ in range(100)]
    with_them = in_use()
    for address in kept:
        libc.free(address)
    assert with_them - before == pytest.approx(200_000, rel=0.1)


def test_what_only_waits_for_the_collector_is_not() -> None:
    before = in_use()
    for _ in range(100):
        circle: list[object] = [bytes(400)]
        circle.append(circle)
    del circle
    assert in_use() - before == pytest.approx(0, abs=2000)


def test_standard_error_is_as_it_was(capfd: pytest.CaptureFixture[str]) -> None:
    memory.in_use()
    os.write(2, b"said\n")
    assert capfd.readouterr().err == "said\n"


@in_sandbox
def test_what_a_large_rebind_took_is_given_back() -> None:
    """Two queues that together are larger than what the C library lets go of by itself."""
    with lab.lab(module=MODULE) as place:
        place.one.sysctl("net.ipv4.tcp_wmem", f"4096 {2 * LARGE} {2 * LARGE}")
        client, server = lab.talkers(place)
        daemon = place.daemons["one"]
        numbers = [lab.connect(client, server, 4) for _ in range(2)]
        before = leaks.memory(daemon.worker)
        for here, there in ((1, 11), (11, 12)):
            waiting = {number: client("fill", number, LARGE) for number in numbers}
            assert min(waiting.values()) > 1_000_000, waiting
            place.replace(place.one, 4, here, there)
            place.wait_moved(len(numbers))
            for number, count in waiting.items():
                assert server("receive", number, count) == "right"
            for one in place.daemons.values():
                one.forget()
        lab.until(lambda: leaks.memory(daemon.worker) < before + 1_000_000, "migrated has given it back", 10)
