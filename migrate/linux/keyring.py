"""Key pairs made ahead, each for the connections of one short interval, and the secrets they give.

There are four pairs at a time, one for each quarter of the TSval circle: a peer without Migrate takes the
TSval of our SYN for our clock, and the eBPF side picks the pair whose bytes look older than the real one.
"""

from __future__ import annotations

import errno
from typing import TextIO

from migrate.core import INSECURE_SECRET, BadKey, KeyPair, shared_secret
from migrate.linux.libbpf import Map
from migrate.linux.maps import KEY_SLOTS, Negotiated, Switchboard

HANDSHAKE_SECONDS = 180.0
"""For so long an opening connection is tried (RFC 1122, 4.2.3.5), and so a key pair may be in use that nothing tells
of: a handshake is in no table before it is over."""

_TSVAL = slice(17, 21)


class Keyring:
    """The private halves live in a pinned map, so that a new daemon finds them."""

    def __init__(self, private_keys: Map, switchboard: Switchboard, log: TextIO | None = None) -> None:
        self._private, self._switchboard, self._log = private_keys, switchboard, log
        self._secrets: dict[tuple[int, bytes], bytes] = {}
        self._idle_since: dict[int, float] = {}
        numbers = [int.from_bytes(key, "little") for key in private_keys]
        self._next = max(numbers, default=0) + 1
        # The first use of the curve costs several times the others: it is made here, not while a peer waits.
        pair = KeyPair.generate()
        shared_secret(pair.private, pair.public)

    def rotate(self) -> bool:
        """New pairs, if the present ones have served a connection (or there are none); true if it made some.  Where
        there is no room for more (so often they are replaced), the present ones serve on."""
        present = {number for number, _ in self._switchboard.read().slots}
        if 0 not in present and self._switchboard.counters()[1].isdisjoint(present):
            return False
        slots: list[tuple[int, bytes] | None] = [None] * KEY_SLOTS
        while None in slots:
            pair = KeyPair.generate()
            quarter = int.from_bytes(pair.public[_TSVAL], "big") >> 30
            if slots[quarter] is not None:
                continue
            slots[quarter] = (self._next, pair.public)
            try:
                self._private.set(self._next.to_bytes(4, "little"), pair.private)
            except OSError as error:
                if error.errno == errno.E2BIG:  # the map's word for full
                    return False
                raise
            if self._log:
                print("P192", pair.public.hex(), pair.private.hex(), file=self._log, flush=True)
            self._next += 1
        complete = tuple(slot for slot in slots if slot is not None)
        self._switchboard.set_keys(complete)
        return True

    def secret(self, negotiated: Negotiated) -> bytes:
        """K of one connection.  The curve arithmetic is done once for each pair of key pairs.

        The insecure variant's is all zero; that of a connection which this host has taken over is written down.
        Raises `BadKey` where our private key is gone, and where the peer's is no point of the curve."""
        if negotiated.insecure:
            return INSECURE_SECRET
        if negotiated.adopted:
            return negotiated.own_key
        index = (negotiated.key_number, negotiated.peer_key)
        if index not in self._secrets:
            private = self._private.get(negotiated.key_number.to_bytes(4, "little"))
            if private is None:
                raise BadKey(f"key pair {negotiated.key_number} is gone")
            self._secrets[index] = shared_secret(private, negotiated.peer_key)
        return self._secrets[index]

    def forget(self, used: set[int], now: float) -> int:
        """Removes the key pairs that no connection and no slot has used for as long as a handshake may take; how many.
        `used`: those of connections.  `now`: seconds, of any clock that does not go back."""
        present = self._switchboard.read()
        busy = used | {number for number, _ in (*present.slots, *present.spare)}
        known = {int.from_bytes(key, "little") for key in self._private}
        self._idle_since = {number: self._idle_since.get(number, now) for number in known - busy}
        gone = {number for number, since in self._idle_since.items() if now - since >= HANDSHAKE_SECONDS}
        for number in gone:
            self._private.delete(number.to_bytes(4, "little"))
        self._secrets = {index: k for index, k in self._secrets.items() if index[0] not in gone}
        return len(gone)
