"""Streams made from simulated traces, without reading or joining any capture."""

from __future__ import annotations

import struct

from analysis.capture import ACK, SYN, Packet
from analysis.stream import Endpoint, Epoch, Segment, Stream
from tests.analysis.pictures.synthetic import Setting, Wire, simulate


def packet(number: int, wire: Wire, vantage: str) -> Packet:
    """A simulated segment as `capture.read` would return it."""
    return Packet(
        number, wire.time, vantage, wire.src, wire.sport, wire.dst, wire.dport, wire.flags, wire.seq, wire.ack,
        wire.window, wire.length, wire.options, f"{vantage}.pcapng",
    )  # fmt: skip


def stream_of(setting: Setting | None = None) -> tuple[Stream, list[float]]:
    """A simulated connection as one stream, and when its mobile moved (seconds since 1970)."""
    setting = setting or Setting()
    wires, moves = simulate(setting)
    return stream_from(wires, setting), moves


def stream_from(wires: list[Wire], setting: Setting) -> Stream:
    """The stream of these segments; tests take some out or change them first."""
    isn = {True: setting.ni, False: setting.na}
    latest = {True: 0, False: 0}

    def unwrap(initiator: bool, raw: int) -> int:
        difference = (raw - isn[initiator] - latest[initiator] + 2**31) % 2**32 - 2**31
        value = latest[initiator] + difference
        latest[initiator] = max(latest[initiator], value)
        return value

    segments: list[Segment] = []
    for number, wire in enumerate(wires, start=1):
        from_initiator = wire.src != setting.server
        epoch = setting.addresses.index(wire.src if from_initiator else wire.dst)
        seq = unwrap(from_initiator, wire.seq)
        ack = unwrap(not from_initiator, wire.ack) if wire.flags & ACK else None
        segments.append(Segment(packet(number, wire, setting.vantage), epoch, from_initiator, seq, ack))
    epochs: list[Epoch] = []
    for index in range(1 + max((segment.epoch for segment in segments), default=0)):
        syn = next((s for s in segments if s.epoch == index and s.flags & (SYN | ACK) == SYN), None) if index else None
        ends = Endpoint(setting.addresses[index], 40_000), Endpoint(setting.server, 80)
        epochs.append(Epoch(index, *ends, syn, True if index else None))
    return Stream(
        vantage=setting.vantage,
        epochs=tuple(epochs),
        segments=tuple(segments),
        ni=setting.ni,
        na=setting.na,
        shifts=(setting.shift, setting.shift),
        secret=None,
        token=None,
        joined_by="sequence",
    )


def sack_option(edges: tuple[int, ...]) -> tuple[int, bytes]:
    """A SACK option with these raw edges."""
    return 5, struct.pack(f"!{len(edges)}I", *edges)
