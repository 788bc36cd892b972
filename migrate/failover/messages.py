"""What members of a support group tell each other: one message a datagram, sealed by `seal`."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from migrate.failover.state import SoftState, StateError

_STATE, _OVER, _DEAD, _OFFER, _HELLO, _GONE = range(1, 7)
_END = struct.Struct("!8sI")
_HELLO_BODY = struct.Struct("!IB")


class MessageError(ValueError):
    """A body that is no message; the message says why."""


@dataclass(frozen=True, slots=True)
class Told:
    """The sender has this connection, and this is what another would need to go on with it."""

    state: SoftState


@dataclass(frozen=True, slots=True)
class Over:
    """The connection has ended; `sent` is its owner's count then."""

    token: bytes
    sent: int


@dataclass(frozen=True, slots=True)
class Dead:
    """The sender pronounces a server dead."""

    server: str


@dataclass(frozen=True, slots=True)
class Offer:
    """The sender cannot go on with its connection: whoever can, may take it."""

    token: bytes
    sent: int


@dataclass(frozen=True, slots=True)
class Gone:
    """The client's host has answered a request of the sender's: it knows of no such connection.  `sent`: its owner's
    count, as the sender knew it."""

    token: bytes
    sent: int


@dataclass(frozen=True, slots=True)
class Hello:
    """The sender lives, has so many connections, and takes more or does not."""

    connections: int
    declines: bool


Message = Told | Over | Dead | Offer | Hello | Gone


def pack(message: Message) -> bytes:
    """Raises `StateError` where a soft state is too large."""
    match message:
        case Told(state):
            return bytes([_STATE]) + state.to_bytes()
        case Over(token, sent):
            return bytes([_OVER]) + _END.pack(token, sent)
        case Dead(server):
            return bytes([_DEAD]) + server.encode()
        case Offer(token, sent):
            return bytes([_OFFER]) + _END.pack(token, sent)
        case Gone(token, sent):
            return bytes([_GONE]) + _END.pack(token, sent)
        case Hello(connections, declines):
            return bytes([_HELLO]) + _HELLO_BODY.pack(connections, declines)


def parse(body: bytes) -> Message:
    """Raises `MessageError`."""
    kind, rest = body[:1], body[1:]
    try:
        if kind == bytes([_STATE]):
            return Told(SoftState.from_bytes(rest))
        if kind == bytes([_OVER]):
            return Over(*_END.unpack(rest))
        if kind == bytes([_DEAD]):
            return Dead(rest.decode())
        if kind == bytes([_OFFER]):
            return Offer(*_END.unpack(rest))
        if kind == bytes([_GONE]):
            return Gone(*_END.unpack(rest))
        if kind == bytes([_HELLO]):
            connections, declines = _HELLO_BODY.unpack(rest)
            return Hello(connections, bool(declines))
    except (StateError, struct.error, UnicodeDecodeError) as error:
        raise MessageError(f"a message that cannot be read: {error}") from error
    raise MessageError(f"a message of an unknown kind: {kind.hex() or 'none'}")
