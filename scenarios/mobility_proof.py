"""Token and Request of a connection, computed a second time from the bytes on the wire.  Pure.

Nothing of `migrate` is used here: a mistake in its options, keys or hashes would be made by the judge as well, and
would not be seen.  Layouts and formulas are those of draft-snoeren-tcp-migrate-00, with P-192 as curve 2.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec

from analysis.capture import SYN, Packet
from analysis.measures import NoMeasure
from analysis.stream import Stream

_MP, _MIGRATE, _TIMESTAMP = 15, 16, 8
_P192 = 2


@dataclass(frozen=True, slots=True)
class Proof:
    """What segment 5 carries, and what it should; hexadecimal."""

    keys: tuple[str, str]  # public, 25 bytes each: the initiator's and the responder's
    octet: str
    token: str
    request: str
    secrets: tuple[str, ...]  # K, 25 bytes, from each private key that the key log has
    wanted_token: str
    wanted_request: str


def proof(stream: Stream, migrate_syn: Packet, keys: Mapping[bytes, bytes]) -> Proof:
    """Raises `NoMeasure` where a key or an option is missing or has the wrong size."""
    opening = [one.packet for one in stream.of_epoch(0) if one.packet.flags & SYN]
    if len(opening) < 2:
        raise NoMeasure(f"{stream} does not begin with a SYN and a SYN/ACK.")
    syn, syn_ack = opening[0], opening[1]
    publics = _public(syn, "the SYN"), _public(syn_ack, "the SYN/ACK")
    pairs = ((publics[0], publics[1]), (publics[1], publics[0]))
    secrets = tuple(_secret(keys[own], peer) for own, peer in pairs if own in keys)
    if not secrets:
        raise NoMeasure(f"The key log has neither key of {stream}.")
    option = _option(migrate_syn, _MIGRATE, 17, "the Migrate SYN")
    known = syn.seq.to_bytes(4, "big") + syn_ack.seq.to_bytes(4, "big") + secrets[0]
    asked = known + migrate_syn.seq.to_bytes(4, "big") + option[:1]
    return Proof(
        (publics[0].hex(), publics[1].hex()),
        option[:1].hex(),
        option[1:9].hex(),
        option[9:].hex(),
        tuple(secret.hex() for secret in secrets),
        hashlib.sha1(known).digest()[:8].hex(),
        hashlib.sha1(asked).digest()[:8].hex(),
    )


def _option(packet: Packet, kind: int, size: int, where: str) -> bytes:
    found = [data for one, data in packet.options if one == kind]
    if len(found) != 1 or len(found[0]) != size:
        raise NoMeasure(f"There are {len(found)} options {kind} in {where}, not one of {size} bytes of data.")
    return found[0]


def _public(packet: Packet, where: str) -> bytes:
    """17 bytes in Migrate-Permitted, behind the curve, then 4 each in TSval and TSecr."""
    permitted = _option(packet, _MP, 18, where)
    if permitted[0] != _P192:
        raise NoMeasure(f"Migrate-Permitted in {where} is of curve {permitted[0]}, not {_P192}.")
    return permitted[1:] + _option(packet, _TIMESTAMP, 8, where)


def _secret(private: bytes, peer: bytes) -> bytes:
    """K: the x-coordinate of the exchange, with a zero byte in front."""
    curve = ec.SECP192R1()
    try:
        own = ec.derive_private_key(int.from_bytes(private, "big"), curve)
        return bytes(1) + own.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(curve, peer))
    except ValueError:
        raise NoMeasure(f"{peer.hex()} or its peer's private key is no key of P-192.") from None
