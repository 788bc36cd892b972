"""Segments that nobody of the connection sent: by one who knows its numbers, or its secret too."""

from __future__ import annotations

from dataclasses import dataclass

from migrate.core import (
    ACK,
    MP_KIND,
    RST,
    SYN,
    FourTuple,
    Migrate,
    MigratePermitted,
    Segment,
    join_key,
    keys,
    options,
    seq,
    shared_secret,
    timestamp,
)
from tests.linux import lab, wire


def public_key(segment: Segment) -> bytes:
    """The key that a SYN or SYN/ACK carries."""
    permitted = MigratePermitted.decode(options.find(segment.options, MP_KIND) or b"")
    times = timestamp(segment.options)
    assert times is not None
    return join_key(permitted.key, *(number.to_bytes(4, "big") for number in times))


def private_keys() -> dict[bytes, bytes]:
    """Public keys to private ones, from the daemons' key log."""
    lines = (lab.OUT / "keys.log").read_text().split("\n")
    return {bytes.fromhex(words[1]): bytes.fromhex(words[2]) for line in lines if len(words := line.split()) == 3}


@dataclass
class Numbers:
    """One connection, opened by `one`: its pair as `one` has it, its first sequence numbers and its secret; and how
    many bytes each side has sent."""

    pair: FourTuple
    ni: int
    na: int
    k: bytes
    from_one: int = 0
    from_two: int = 0

    @property
    def next_of_one(self) -> int:
        """The sequence number of the next byte of `one`: two's rcv_nxt."""
        return seq.add(self.ni, 1 + self.from_one)

    @property
    def next_of_two(self) -> int:
        return seq.add(self.na, 1 + self.from_two)

    def reset(self, beyond: int = 0, flags: int = RST) -> Segment:
        """A RST to `two` that seems to come from `one`, so many bytes beyond what `two` expects."""
        return self.pair.segment(flags, seq.add(self.next_of_one, beyond), self.next_of_two if flags & ACK else 0)

    def request(
        self, source: FourTuple, count: int, *, token: bytes | None = None, proof: bytes | None = None, at: int = 0
    ) -> Segment:
        """A Migrate SYN from that pair: a right one unless its token or proof is given; S moved by `at`."""
        s = seq.add(self.next_of_one, at - 1)
        octet = options.octet(False, count)
        right = Migrate(
            False,
            octet & options.REQNO_MASK,
            keys.token(self.ni, self.na, self.k) if token is None else token,
            keys.request(self.ni, self.na, self.k, s, octet, count) if proof is None else proof,
        )
        return source.segment(SYN, s, options=right.encode())


def eavesdrop(place: lab.Lab, client: lab.Talker, server: lab.Talker, version: int) -> tuple[int, Numbers]:
    """A new connection over which 1000 bytes have gone each way; its number, and all that can be known of it."""
    with wire.captured(place.one) as seen:
        number = lab.connect(client, server, version)
        lab.both_ways(client, server, number)
    syn, answer = (one.segment for one in seen[:2])
    private = private_keys()
    pair = FourTuple(syn.src, syn.sport, syn.dst, syn.dport)
    k = shared_secret(private[public_key(syn)], public_key(answer))
    return number, Numbers(pair, syn.seq, answer.seq, k, 1000, 1000)
