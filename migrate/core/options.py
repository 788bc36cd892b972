"""The two TCP options of Migrate, and TCP options in general.

Layouts: draft-snoeren-tcp-migrate-00.  Kinds: the MobiCom 2000 paper.  IANA has since given both numbers to other
options and taken them back; they are constants here and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

MP_KIND = 15
MIGRATE_KIND = 16

CURVE_INSECURE = 0  # K is all zero; there is no key in the option
CURVE_P192 = 2  # NIST P-192, compressed points

OPTIONS_MAX = 40
REQNO_BITS = 7
REQNO_MASK = (1 << REQNO_BITS) - 1

_EOL, _NOP = 0, 1
_PRELOAD = 0x80
_MP_KEY_BYTES = 17
_PROOF_BYTES = 8


class OptionError(ValueError):
    """The peer sent TCP options that do not parse."""


class Option(NamedTuple):
    """One TCP option; `data` is what follows kind and length."""

    kind: int
    data: bytes


def split(options: bytes) -> tuple[Option, ...]:
    """The options of a TCP header in order, without NOPs and without what follows an end-of-list.

    Raises OptionError where a length is missing, smaller than 2, or points beyond the end."""
    found = []
    at = 0
    while at < len(options):
        kind = options[at]
        if kind == _EOL:
            break
        if kind == _NOP:
            at += 1
            continue
        if at + 1 >= len(options):
            raise OptionError(f"option {kind} at byte {at} has no length")
        length = options[at + 1]
        if length < 2:
            raise OptionError(f"option {kind} at byte {at} has the impossible length {length}")
        if at + length > len(options):
            raise OptionError(f"option {kind} at byte {at} is {length} bytes long, {len(options) - at} are left")
        found.append(Option(kind, options[at + 2 : at + length]))
        at += length
    return tuple(found)


def find(options: bytes, kind: int) -> bytes | None:
    """The data of the first option of that kind, or None.  Raises OptionError as `split` does."""
    return next((option.data for option in split(options) if option.kind == kind), None)


@dataclass(frozen=True, slots=True)
class MigratePermitted:
    """MP, in SYN and SYN/ACK of the first handshake: 20 bytes with a key, 3 without.

    `key` is the first 17 bytes of the public key; the other 8 travel in the Timestamp option of the same
    segment (see keys.split_key).  It is empty if and only if the curve is CURVE_INSECURE."""

    curve_id: int
    key: bytes = b""

    KIND: ClassVar[int] = MP_KIND

    def __post_init__(self) -> None:
        if not 0 <= self.curve_id <= 255:
            raise OptionError(f"curve id {self.curve_id} does not fit one byte")
        wanted = 0 if self.curve_id == CURVE_INSECURE else _MP_KEY_BYTES
        if len(self.key) != wanted:
            raise OptionError(
                f"Migrate-Permitted with curve id {self.curve_id} has {len(self.key)} key bytes, not {wanted}"
            )

    def encode(self) -> bytes:
        return bytes((MP_KIND, 3 + len(self.key), self.curve_id)) + self.key

    @classmethod
    def decode(cls, data: bytes) -> MigratePermitted:
        """From the option's data, as `split` gives it.  Raises OptionError."""
        if not data:
            raise OptionError("Migrate-Permitted without a curve id")
        return cls(data[0], data[1:])


@dataclass(frozen=True, slots=True)
class Migrate:
    """The option of a Migrate SYN (segment 5): 19 bytes, and a NOP in front.

    `token` and `request` are 8 bytes each (see keys.token and keys.request)."""

    preload: bool
    reqno: int
    token: bytes
    request: bytes

    KIND: ClassVar[int] = MIGRATE_KIND

    def __post_init__(self) -> None:
        if not 0 <= self.reqno <= REQNO_MASK:
            raise OptionError(f"request number {self.reqno} does not fit {REQNO_BITS} bits")
        if len(self.token) != _PROOF_BYTES or len(self.request) != _PROOF_BYTES:
            raise OptionError(f"token and request are {_PROOF_BYTES} bytes each")

    @property
    def octet(self) -> int:
        """P and ReqNo as they are on the wire, and as the request covers them."""
        return (_PRELOAD if self.preload else 0) | self.reqno

    def encode(self) -> bytes:
        body = bytes((self.octet,)) + self.token + self.request
        return bytes((_NOP, MIGRATE_KIND, 2 + len(body))) + body

    @classmethod
    def decode(cls, data: bytes) -> Migrate:
        """From the option's data, as `split` gives it.  Raises OptionError."""
        if len(data) != 1 + 2 * _PROOF_BYTES:
            raise OptionError(f"a Migrate option has {1 + 2 * _PROOF_BYTES} bytes of data, this one {len(data)}")
        return cls(bool(data[0] & _PRELOAD), data[0] & REQNO_MASK, data[1:9], data[9:17])


def octet(preload: bool, count: int) -> int:
    """The octet on the wire for the request of that full count: P, then its last 7 bits."""
    return (_PRELOAD if preload else 0) | (count & REQNO_MASK)
