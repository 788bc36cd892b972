"""A group's key: what it seals only members can read, and only they can have said.

Soft state holds connections' secrets, so datagrams are encrypted, not only signed: AES-256-GCM.  Each start of a
sender has a key of its own, derived from the group's (HKDF), and counts its datagrams: no nonce is used twice.

On the wire: magic 2 | boot 8 | count 6 | ciphertext | tag 16.  `boot` is the sender's start, milliseconds since 1970
(6 bytes) and 2 random bytes, so a later start is a larger number.  Sealed: sent at, milliseconds since 1970 (6) | name
length (1) | name | body.
"""

from __future__ import annotations

import secrets
import struct
from collections import OrderedDict
from dataclasses import dataclass
from typing import NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES_MIN = 16
MAX_AGE_MS = 30_000
"""A datagram whose time of sending differs more from the receiver's clock is stale."""

_MAGIC = b"MW"
_HEAD = 16
_TAG = 16
_WINDOW = 4096  # datagrams may overtake each other by so many
_SENDERS = 256  # keys remembered: forged ones cannot fill the memory


class NotOurs(Exception):
    """A datagram that is refused; the message says why, in words for the log."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A datagram that a member sent, once, lately; `boot` tells its starts apart."""

    sender: str
    boot: int
    body: bytes


def _key(group_key: bytes, boot: bytes) -> AESGCM:
    return AESGCM(HKDF(SHA256(), 32, None, b"migrate wedge 1" + boot).derive(group_key))


def check_key(group_key: bytes) -> bytes:
    """The key itself.  Raises ValueError for one that can be guessed."""
    if len(group_key) < KEY_BYTES_MIN:
        raise ValueError(f"a group key has at least {KEY_BYTES_MIN} bytes, this one {len(group_key)}")
    return group_key


class Sealer:
    """One start of one sender."""

    def __init__(self, group_key: bytes, name: str, now_ms: int) -> None:
        """`now_ms` is the time of the start, milliseconds since 1970."""
        self.name = name
        boot = now_ms.to_bytes(6, "big") + secrets.token_bytes(2)
        self.boot = int.from_bytes(boot, "big")
        self._aead = _key(check_key(group_key), boot)
        self._front = _MAGIC + boot
        self._name = bytes([len(name.encode())]) + name.encode()
        self._count = 0

    def seal(self, body: bytes, now_ms: int) -> bytes:
        """The datagram that says `body`."""
        self._count += 1
        head = self._front + self._count.to_bytes(6, "big")
        plain = now_ms.to_bytes(6, "big") + self._name + body
        return head + self._aead.encrypt(_nonce(head), plain, head)


class Opener:
    """What a member takes from others: each datagram once, none of an earlier start, none that is old."""

    def __init__(self, group_key: bytes) -> None:
        self._group_key = check_key(group_key)
        self._keys: OrderedDict[bytes, AESGCM] = OrderedDict()
        self._boots: dict[str, int] = {}
        self._seen: dict[str, tuple[int, int]] = {}  # by sender: the highest count, and which below it have come

    def open(self, datagram: bytes, now_ms: int) -> Opened:
        """Raises `NotOurs`."""
        if len(datagram) < _HEAD + _TAG or not datagram.startswith(_MAGIC):
            raise NotOurs("it is no announcement of a wedge")
        head = datagram[:_HEAD]
        boot = head[2:10]
        key = self._keys.get(boot) or _key(self._group_key, boot)
        try:
            plain = key.decrypt(_nonce(head), datagram[_HEAD:], head)
        except InvalidTag:
            raise NotOurs("it is not sealed with this group's key") from None
        self._remember(boot, key)
        sent = int.from_bytes(plain[:6], "big")
        sender = plain[7 : 7 + plain[6]].decode(errors="replace")
        if abs(now_ms - sent) > MAX_AGE_MS:
            _refuse(sender, f"is stale: its clock differs by {abs(now_ms - sent) / 1000:.0f} s from ours")
        self._take_once(sender, int.from_bytes(boot, "big"), int.from_bytes(head[10:], "big"))
        return Opened(sender, int.from_bytes(boot, "big"), plain[7 + plain[6] :])

    def _remember(self, boot: bytes, key: AESGCM) -> None:
        self._keys[boot] = key
        self._keys.move_to_end(boot)
        if len(self._keys) > _SENDERS:
            self._keys.popitem(last=False)

    def _take_once(self, sender: str, boot: int, count: int) -> None:
        known = self._boots.get(sender, 0)
        if boot < known:
            _refuse(sender, "is of an earlier start of it")
        highest, seen = self._seen.get(sender, (0, 0)) if boot == known else (0, 0)
        behind = highest - count
        if behind >= _WINDOW or (behind >= 0 and seen >> behind & 1):
            _refuse(sender, "has come before")
        if behind < 0:
            seen = (seen << -behind | 1) & ((1 << _WINDOW) - 1) if -behind < _WINDOW else 1
            highest = count
        else:
            seen |= 1 << behind
        self._boots[sender], self._seen[sender] = boot, (highest, seen)


def _nonce(head: bytes) -> bytes:
    return struct.pack("!6x6s", head[10:_HEAD])


def _refuse(sender: str, why: str) -> NoReturn:
    raise NotOurs(f"an announcement of {sender} {why}")
