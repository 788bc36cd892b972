"""The parent of the daemon's worker: finishes or undoes what a killed worker left half done, and starts another.

What takes its time to be loaded into the kernel the guardian loads, for all workers (loaded.py).

A worker that dies in the middle of a rebind leaves programs frozen and a socket in pieces.  The journal tells
how far it came, and the guardian does the rest.  Should both be killed, the next daemon does it when it starts.
"""

from __future__ import annotations

import ctypes
import functools
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from migrate.daemon.loaded import Loaded
from migrate.linux import libbpf
from migrate.linux.journal import Journal, Order
from migrate.linux.maps import COUNTERS, HANDSHAKE, SETTINGS, STATE, TUPLE, WATCH, Connections, Switchboard
from migrate.linux.places import OCCUPIED, PLACE, Places
from migrate.linux.rebind import Rebinder
from migrate.linux.repair import Checkpoint
from migrate.linux.resend import third_segment
from migrate.linux.wire import Wire

PR_SET_PDEATHSIG = 1
ENDING = (signal.SIGTERM, signal.SIGINT)
# A worker that dies more often than this is broken, not unlucky.
TRIES, WITHIN_SECONDS = 5, 10.0


def guard(worker: Callable[[Loaded, Journal], int], journal: Journal, cgroup: Path, pins: Path) -> int:
    """Runs `worker` in a child until it ends by itself; its exit status.  Raises `SetupError`."""
    deaths: list[float] = []
    stopping = False
    child = 0

    def stop(number: int, _frame: object) -> None:
        nonlocal stopping
        stopping = True
        if child:
            os.kill(child, number)

    for number in ENDING:
        signal.signal(number, stop)
    guardian = os.getpid()
    loaded = Loaded.load(pins, cgroup)
    while True:
        # Who asks for the end meanwhile would be heard by nobody: there is no child yet to pass it on to.
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        if stopping:
            return 0
        child = os.fork()
        if child == 0:
            _in_child(functools.partial(worker, loaded), journal, guardian)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        status = os.waitpid(child, 0)[1]
        child = 0
        if os.WIFEXITED(status):
            return os.WEXITSTATUS(status)
        recover(journal, cgroup, pins)
        now = time.monotonic()
        deaths = [when for when in deaths if now - when < WITHIN_SECONDS] + [now]
        if len(deaths) >= TRIES:
            often = f"{TRIES} times in {WITHIN_SECONDS:.0f} s"
            print(f"migrated was killed {often} and gives up: connections go on as plain TCP", file=sys.stderr)
            return 1


def _in_child(worker: Callable[[Journal], int], journal: Journal, guardian: int) -> None:
    for number in ENDING:
        signal.signal(number, signal.SIG_DFL)  # until the worker has its own way to end; the guardian's is not for it
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    status = 1
    try:
        if os.getppid() == guardian:  # else it has died before the lines above
            status = worker(journal)
    except BaseException:  # noqa: BLE001
        traceback.print_exc()  # nobody above sees it: the child ends below
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def recover(journal: Journal, cgroup: Path, pins: Path) -> None:
    """Finishes or undoes what the journal tells of, and says what could not be saved, a sentence each."""
    sizes = {
        "connections": (TUPLE.size, HANDSHAKE.size),
        "states": (TUPLE.size, STATE.size),
        "places": (4, PLACE.size),
        "occupied": (4, OCCUPIED.size),
        "settings": (4, SETTINGS.size),
        "counters": (4, COUNTERS.size),
        "watches": (TUPLE.size, WATCH.size),
    }
    opened = {name: libbpf.open_pin(pins / name) for name in sizes}
    maps = {name: libbpf.Map(fd, *sizes[name]) for name, fd in opened.items() if fd is not None}
    if len(maps) < len(sizes):
        return  # it was killed before it had loaded anything
    wire = Wire()
    switchboard = Switchboard(maps["settings"], maps["counters"], maps["watches"])
    places = Places(maps["places"], maps["occupied"], switchboard.read().seed)
    connections = Connections(maps["connections"], maps["states"], places)

    def lead(order: Order, image: Checkpoint) -> None:
        if order.acknowledge:
            wire.send(third_segment(order.new, image))

    try:
        outcomes = Rebinder(cgroup, connections, switchboard, wire, journal).recover(lead)
    finally:
        wire.close()
        for each in maps.values():
            os.close(each.fd)
    for outcome in outcomes:
        if outcome.reason:
            print(f"{outcome.order.old}: {outcome.reason}", file=sys.stderr, flush=True)
