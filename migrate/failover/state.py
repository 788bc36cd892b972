"""The soft state of one connection, and its bytes (slide 25).

Only what was so at the beginning: who the client is, how the connection was opened, which request is being answered and
where in the stream its answer begins.  How far the client has got, it says itself in its SYN/ACK.  Positions are bytes
from the first of each direction: 0 is sequence number Ni + 1 or Na + 1.
"""

from __future__ import annotations

import ipaddress
import struct
import zlib
from dataclasses import dataclass, field

from migrate.core.keys import SECRET_BYTES, token
from migrate.failover.mapping import DIGEST_BYTES, Answer
from migrate.failover.takeover import Options, Secrets

MOST_BYTES = 440
"""Of one connection's state: with kind, name and seal the datagram stays within 512."""

_FIXED = struct.Struct(f"!BBHII{SECRET_BYTES}sII4sHBIQQ")
_ANSWER = struct.Struct(f"!I{DIGEST_BYTES}sIQQQBB")
_IPV6, _ANSWERED, _CLOSES, _SACK, _SCALED = 1, 2, 4, 8, 16
# What requests are made of: the bytes that nearly every one has need not travel.
_WORDS = (
    b'Upgrade-Insecure-Requests: 1\r\nCache-Control: no-cache\r\nIf-Modified-Since: If-None-Match: "Referer: http://'
    b"Cookie: Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate\r\nText/html,application/xhtml+xml,"
    b"application/xml;q=0.9,image/webp,*/*;q=0.8\r\nRange: bytes=0-User-Agent: Mozilla/5.0 (X11; Linux x86_64) Gecko/"
    b"User-Agent: Wget/1.21\r\nConnection: keep-alive\r\nConnection: close\r\nHEAD / HTTP/1.1\r\nHost: localhost"
    b"HTTP/1.0\r\nGET /index.html HTTP/1.1\r\nHost: 10.0.:8080\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n"
)


class StateError(ValueError):
    """Bytes that are no soft state, or state that has no place in a datagram; the message says why."""


@dataclass(frozen=True, slots=True)
class SoftState:
    """One connection, as its owner tells it."""

    client: tuple[str, int]
    """Its present address and port."""
    secrets: Secrets
    options: Options
    mapper: int
    revision: int
    """Rises with each change that this owner tells."""
    asked_at: int
    """Where in the client's stream `asked` begins."""
    asked: bytes
    """The request being answered, and what has come after it."""
    answered_at: int
    """Where in the server's stream the answer begins."""
    answer: Answer | None = None
    """None: no byte of it has been sent."""
    _token: bytes = field(default=b"", compare=False, repr=False)

    @property
    def token(self) -> bytes:
        """The connection's name for life, 8 bytes."""
        return self._token or token(self.secrets.ni, self.secrets.na, self.secrets.k)

    @property
    def order(self) -> tuple[int, int]:
        """Of two states of a connection, the one with the larger is newer."""
        return self.secrets.sent, self.revision

    def to_bytes(self) -> bytes:
        """Raises `StateError` where that would be more than `MOST_BYTES`."""
        address, options, answer = ipaddress.ip_address(self.client[0]), self.options, self.answer
        secrets = self.secrets
        flags = (address.version == 6) * _IPV6 | options.sack * _SACK | (options.snd_wscale is not None) * _SCALED
        if answer is not None:
            flags |= _ANSWERED | answer.closes * _CLOSES
        scales = (options.snd_wscale or 0) << 4 | (options.rcv_wscale or 0)
        out = _FIXED.pack(
            *(self.mapper, flags, self.client[1], secrets.ni, secrets.na, secrets.k, secrets.sent, secrets.accepted),
            *(bytes.fromhex(secrets.name), options.mss, scales, self.revision, self.asked_at, self.answered_at),
        )
        out += address.packed
        if answer is not None:
            reason, validator = answer.reason.encode()[:60], answer.validator
            if len(validator) > 128:
                raise StateError(f"the validator has {len(validator)} bytes")
            out += _ANSWER.pack(
                *(answer.head_length, answer.head_digest, answer.date, answer.first, answer.length, answer.total),
                *(len(validator), len(reason)),
            )
            out += validator + reason
        out += _squeeze(self.asked)
        if len(out) > MOST_BYTES:
            raise StateError(f"a request of {len(self.asked)} bytes does not fit into soft state")
        return out

    @classmethod
    def from_bytes(cls, raw: bytes) -> SoftState:
        """Raises `StateError`."""
        try:
            return cls._parse(raw)
        except (struct.error, ValueError, zlib.error) as error:
            raise StateError(f"no soft state: {error}") from error

    @classmethod
    def _parse(cls, raw: bytes) -> SoftState:
        mapper, flags, port, ni, na, k, sent, accepted, name, mss, scales, revision, asked_at, answered_at = (
            _FIXED.unpack_from(raw)
        )
        at = _FIXED.size + (16 if flags & _IPV6 else 4)
        client = str(ipaddress.ip_address(raw[_FIXED.size : at]))
        answer = None
        if flags & _ANSWERED:
            head_length, digest, date, first, length, total, validators, reasons = _ANSWER.unpack_from(raw, at)
            at += _ANSWER.size
            validator, reason = raw[at : at + validators], raw[at + validators : at + validators + reasons]
            at += validators + reasons
            answer = Answer(
                *(head_length, digest, date, validator, first, length, total),
                bool(flags & _CLOSES),
                reason.decode(),
            )
        scaled = bool(flags & _SCALED)
        options = Options(mss, scales >> 4 if scaled else None, scales & 15 if scaled else None, bool(flags & _SACK))
        return cls(
            *((client, port), Secrets(ni, na, k, sent, accepted, name.hex()), options, mapper, revision),
            *(asked_at, _expand(raw[at:]), answered_at, answer, token(ni, na, k)),
        )


def _squeeze(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15, zdict=_WORDS)
    return packer.compress(data) + packer.flush()


def _expand(data: bytes) -> bytes:
    unpacker = zlib.decompressobj(-15, zdict=_WORDS)
    found = unpacker.decompress(data, 1 << 16)
    if not unpacker.eof or unpacker.unused_data:
        raise ValueError("its request is cut off")
    return found
