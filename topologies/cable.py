"""A cable in userspace: one process, two TAP interfaces, and `cable_model` between them.

    python -m topologies.cable FD        (FD: the control socket; the properties come over it)

The process makes each TAP in its node's network namespace, so that the kernel sees an ordinary Ethernet interface at
either end; when it ends, and it ends with its control socket, both interfaces are gone. Control messages are JSON, one
a line, each answered by one line.
"""

from __future__ import annotations

import errno
import fcntl
import gc
import json
import os
import select
import socket
import struct
import sys
import time
from dataclasses import asdict
from typing import Any

from topologies import system
from topologies.cable_model import ETHERNET_HEADER, SECOND, CableModel, Properties
from topologies.loss_rules import RuleError

_TUNSETIFF = 0x400454CA
_IFF_TAP, _IFF_NO_PI = 2, 0x1000
_BATCH = 64  # frames read from one end before the other end and the clock get their turn
_IDLE_SECONDS = 3600.0


class CableError(Exception):
    """The cable cannot be made or has ended; the text is one sentence."""


def open_tap(name: str, namespace: str) -> int:
    """Make a TAP interface in a network namespace; it lives as long as the descriptor returned."""
    with system.network_namespace(namespace):
        try:
            fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise CableError(
                f"/dev/net/tun cannot be opened ({error.strerror}): load the module `tun` (modprobe tun), "
                "or give the container that device"
            ) from error
        try:
            fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI))
        except OSError as error:
            os.close(fd)
            raise CableError(f"the interface {name} cannot be made: {error.strerror}") from error
    return fd


class _Cable:
    def __init__(self, control: socket.socket, model: CableModel, taps: tuple[int, int], realtime: bool) -> None:
        self.model = model
        self.realtime = realtime
        self.taps = taps
        self._control = control
        self._unread = b""
        self.worst_lateness = 0

    def run(self) -> None:
        """Carry packets until the control socket is closed."""
        readable = [*self.taps, self._control.fileno()]
        while True:
            due = self.model.next_due()
            wait = _IDLE_SECONDS if due is None else max(0, due - time.monotonic_ns()) / SECOND
            ready = select.select(readable, [], [], wait)[0]
            for end in (0, 1):
                if self.taps[end] in ready:
                    self._take_in(end)
            self._give_out()
            if self._control.fileno() in ready and not self._obey():
                return

    def _take_in(self, end: int) -> None:
        tap, arrive = self.taps[end], self.model.arrive
        for _ in range(_BATCH):
            try:
                frame = os.read(tap, 65535)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EIO, errno.EBADFD):  # the interface is down
                    return
                raise
            arrive(end, time.monotonic_ns(), frame)

    def _give_out(self) -> None:
        now = time.monotonic_ns()
        for end in (0, 1):
            direction, tap = self.model.directions[end], self.taps[1 - end]
            for moment, frame in direction.due(now):
                try:
                    os.write(tap, frame)
                except OSError as error:
                    if error.errno not in (errno.EIO, errno.EBADFD, errno.ENOBUFS, errno.EAGAIN):
                        raise
                    direction.counters.undeliverable += 1
                    continue
                direction.counters.delivered += 1
                direction.counters.bytes += len(frame) - ETHERNET_HEADER
                if now - moment > self.worst_lateness:
                    self.worst_lateness = now - moment

    def _obey(self) -> bool:
        """Answer what has been asked; False at the end."""
        asked = self._control.recv(65536)
        if not asked:
            return False
        *lines, self._unread = (self._unread + asked).split(b"\n")
        for line in lines:
            answer = json.dumps(self._answer(json.loads(line)))
            self._control.sendall(answer.encode() + b"\n")
        return True

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        model = self.model
        try:
            match request["do"]:
                case "add":
                    model.rules.add(request["rule"])
                case "clear":
                    model.rules.clear()
                case "set":
                    for direction, changed in zip(model.directions, request["properties"], strict=True):
                        direction.change(Properties(**changed))
                case "state":
                    return self._state()
                case unknown:
                    return {"error": f"{unknown} is not a request"}
        except (RuleError, ValueError, TypeError) as error:
            return {"error": str(error)}
        return {}

    def _state(self) -> dict[str, Any]:
        model, now = self.model, time.monotonic_ns()
        return {
            "toward": {
                direction.name: {
                    **direction.counters.as_dict(),
                    "waiting": direction.waiting(now),
                    "properties": asdict(direction.properties),
                }
                for direction in model.directions
            },
            "rules": [{"rule": rule.text, "matched": rule.matched, "fired": rule.fired} for rule in model.rules.rules],
            "firings": [asdict(firing) for firing in model.rules.firings],
            "realtime": self.realtime,
            "worst_lateness_s": self.worst_lateness / SECOND,
        }


def _hurry(model: CableModel) -> bool:
    """Run before ordinary processes where the kernel permits it; returns whether it does.

    On a busy machine that makes the difference between 0.3 and 4 ms late. Not for a cable without a rate, which could
    keep a processor to itself.
    """
    if any(direction.properties.rate_bps is None for direction in model.directions):
        return False
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except PermissionError:
        return False  # a container without CAP_SYS_NICE; `state` tells
    return True


def main() -> int:
    """The cable process."""
    control = socket.socket(fileno=int(sys.argv[1]))
    first = b""
    while not first.endswith(b"\n"):
        part = control.recv(65536)
        if not part:
            return 1
        first += part
    wanted = json.loads(first)
    try:
        ends = (wanted["ends"][0], wanted["ends"][1])
        model = CableModel(ends, (Properties(**wanted["there"]), Properties(**wanted["back"])), wanted["seed"])
        for rule in wanted["rules"]:
            model.rules.add(rule)
        taps = tuple(open_tap(name, namespace) for name, namespace in wanted["taps"])
    except (CableError, RuleError, ValueError) as error:
        control.sendall(json.dumps({"error": str(error)}).encode() + b"\n")
        return 1
    gc.disable()  # nothing here makes cycles, and a collection is a pause
    system.set_timer_slack(1)
    realtime = _hurry(model)
    control.sendall(b"{}\n")
    _Cable(control, model, (taps[0], taps[1]), realtime).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
