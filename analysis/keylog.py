"""Key logs, and what can be computed with them: K, Token and Request of a connection seen in a trace.

A key log is a debugging aid of the daemon, as the one of TLS: lines `P192 <own public key> <private key>` in
hexadecimal, 50 and 48 digits.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from analysis.capture import Packet
from migrate.core.keys import INSECURE_SECRET, BadKey, join_key, shared_secret
from migrate.core.options import CURVE_INSECURE, MP_KIND, MigratePermitted, OptionError

TIMESTAMP_KIND = 8

_LINE = re.compile(r"P192 ([0-9a-fA-F]{50}) ([0-9a-fA-F]{48})")


class KeyLogError(Exception):
    """A key log that cannot be used; the text is one sentence that says why."""


def read_keys(paths: Iterable[Path | str]) -> dict[bytes, bytes]:
    """Public keys (25 bytes) to private ones (24 bytes) of one or more key logs.  Raises KeyLogError."""
    keys: dict[bytes, bytes] = {}
    for path in paths:
        try:
            text = Path(path).read_text(encoding="ascii")
        except UnicodeDecodeError:
            raise KeyLogError(f"{path} is no key log: it is not plain text.") from None
        except OSError as error:
            raise KeyLogError(f"The key log {path} cannot be read: {error.strerror}.") from None
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            match = _LINE.fullmatch(line.strip())
            if match is None:
                raise KeyLogError(f"Line {number} of the key log {path} is not 'P192 PUBLIC PRIVATE' in hexadecimal.")
            keys[bytes.fromhex(match[1])] = bytes.fromhex(match[2])
    return keys


def permitted(packet: Packet) -> MigratePermitted | None:
    """The Migrate-Permitted option of a SYN or SYN/ACK, if it has a well-formed one."""
    for kind, data in packet.options:
        if kind == MP_KIND:
            try:
                return MigratePermitted.decode(data)
            except OptionError:
                return None
    return None


def public_key(packet: Packet) -> bytes | None:
    """The 25 key bytes of a SYN or SYN/ACK: 17 in Migrate-Permitted, then TSval and TSecr."""
    option = permitted(packet)
    if option is None or option.curve_id == CURVE_INSECURE:
        return None
    times = next((data for kind, data in packet.options if kind == TIMESTAMP_KIND and len(data) == 8), None)
    return None if times is None else join_key(option.key, times[:4], times[4:])


def secret(syn: Packet, syn_ack: Packet, keys: Mapping[bytes, bytes]) -> bytes | None:
    """K of the connection that these two opened, or None without one side's private key.

    The insecure variant's K is known to everybody.
    """
    ours, theirs = permitted(syn), permitted(syn_ack)
    if ours is None or theirs is None or ours.curve_id != theirs.curve_id:
        return None
    if ours.curve_id == CURVE_INSECURE:
        return INSECURE_SECRET
    publics = public_key(syn), public_key(syn_ack)
    for own, peer in (publics, publics[::-1]):
        if own is not None and peer is not None and own in keys:
            try:
                return shared_secret(keys[own], peer)
            except BadKey:
                return None
    return None
