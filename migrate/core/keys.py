"""Key pairs, the secret K, Token and Request.

K comes from an ECDH exchange on NIST P-192, whose compressed points are exactly the draft's 25 bytes of key
data: 17 in Migrate-Permitted, 4 in TSval, 4 in TSecr.  Token and Request are SHA-1 cut to its first 8 bytes
(draft-snoeren-tcp-migrate-00; the widths of their inputs are this project's).
"""

from __future__ import annotations

import hashlib
import struct
from collections import OrderedDict
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from migrate.core.options import REQNO_BITS, REQNO_MASK

PRIVATE_BYTES = 24
PUBLIC_BYTES = 25
SECRET_BYTES = 25
INSECURE_SECRET = bytes(SECRET_BYTES)  # K of curve id 0

_PROOF_BYTES = 8
_CURVE = ec.SECP192R1()
_ISNS = struct.Struct("!II")
_PROVEN = struct.Struct("!IB")
_HIGH_BITS = struct.Struct("!I")


class BadKey(ValueError):
    """A key that is none: a public key that is no point of the curve, a private key out of range or gone."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """`private` is 24 bytes, big-endian; `public` the compressed point, 25 bytes."""

    private: bytes
    public: bytes

    @classmethod
    def generate(cls) -> KeyPair:
        """A fresh pair (about 0.2 ms)."""
        key = ec.generate_private_key(_CURVE)
        pair = cls._of(key)
        _remember(pair.private, key)
        return pair

    @classmethod
    def from_private(cls, private: bytes) -> KeyPair:
        """The pair of a stored private key.  Raises BadKey."""
        return cls._of(_private_key(private))

    @classmethod
    def _of(cls, key: ec.EllipticCurvePrivateKey) -> KeyPair:
        public = key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
        return cls(key.private_numbers().private_value.to_bytes(PRIVATE_BYTES, "big"), public)


_known: OrderedDict[bytes, ec.EllipticCurvePrivateKey] = OrderedDict()
"""The library's form of the last private keys: to make it of the bytes takes twice as long as an exchange."""
_KNOWN = 64


def _remember(private: bytes, key: ec.EllipticCurvePrivateKey) -> None:
    _known[private] = key
    if len(_known) > _KNOWN:
        _known.popitem(last=False)


def _private_key(private: bytes) -> ec.EllipticCurvePrivateKey:
    if (known := _known.get(private)) is not None:
        _known.move_to_end(private)  # pairs are made that nobody uses: they go first
        return known
    if len(private) != PRIVATE_BYTES:
        raise BadKey(f"a private key has {PRIVATE_BYTES} bytes, this one {len(private)}")
    try:
        key = ec.derive_private_key(int.from_bytes(private, "big"), _CURVE)
    except ValueError as error:
        raise BadKey("the private key is not in the curve's range") from error
    _remember(private, key)
    return key


def shared_secret(private: bytes, peer_public: bytes) -> bytes:
    """K: the x-coordinate of the ECDH exchange, 24 bytes, with a zero byte in front.

    Raises BadKey where `peer_public` is no compressed point of P-192."""
    # A leading 02 or 03 is a compressed point; the library would also take 04 (uncompressed) and longer ones.
    if len(peer_public) != PUBLIC_BYTES or peer_public[0] not in (2, 3):
        raise BadKey("the peer's public key is no compressed point of P-192")
    try:
        peer = ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, peer_public)
    except ValueError as error:
        raise BadKey("the peer's public key is no point of P-192") from error
    return _private_key(private).exchange(ec.ECDH(), peer).rjust(SECRET_BYTES, b"\0")


def split_key(public: bytes) -> tuple[bytes, bytes, bytes]:
    """The 25 key bytes as they travel: 17 in Migrate-Permitted, 4 in TSval, 4 in TSecr."""
    if len(public) != PUBLIC_BYTES:
        raise BadKey(f"a public key has {PUBLIC_BYTES} bytes, this one {len(public)}")
    return public[:17], public[17:21], public[21:]


def join_key(mp: bytes, tsval: bytes, tsecr: bytes) -> bytes:
    """The 25 key bytes from the three places that carry them."""
    if (len(mp), len(tsval), len(tsecr)) != (17, 4, 4):
        raise BadKey("key data is 17 bytes in Migrate-Permitted, 4 in TSval and 4 in TSecr")
    return mp + tsval + tsecr


def token(ni: int, na: int, k: bytes) -> bytes:
    """T = SHA-1(Ni | Na | K), its first 8 bytes: the name of a connection.

    Ni and Na are the first sequence numbers of the original SYN and SYN/ACK, whoever moves later."""
    return hashlib.sha1(_ISNS.pack(ni, na) + k).digest()[:_PROOF_BYTES]


def request(ni: int, na: int, k: bytes, s: int, octet: int, count: int) -> bytes:
    """R = SHA-1(Ni | Na | K | S | octet), its first 8 bytes: the proof of one request.

    S is the Migrate SYN's sequence number, `octet` is P and ReqNo as on the wire, `count` the request's full
    number.  Once that has passed 127 its high bits follow the octet, 4 bytes big-endian: seven bits wrap, and a
    request recorded long ago would verify again."""
    proven = _ISNS.pack(ni, na) + k + _PROVEN.pack(s, octet)
    if count > REQNO_MASK:
        proven += _HIGH_BITS.pack(count >> REQNO_BITS)
    return hashlib.sha1(proven).digest()[:_PROOF_BYTES]
