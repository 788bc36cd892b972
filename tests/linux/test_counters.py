"""What the processors have counted each for itself."""

from __future__ import annotations

import errno

from migrate.linux import libbpf
from migrate.linux.keyring import HANDSHAKE_SECONDS, Keyring
from migrate.linux.maps import COUNTERS, KEY_SLOTS, SEED_WORDS, SETTINGS, SLOT, Switchboard


class Entries(libbpf.Map):
    """A map without a kernel."""

    def __init__(self, entries: dict[bytes, bytes]) -> None:
        super().__init__(-1, 4, 4)
        self.entries = entries

    def get(self, key: bytes) -> bytes | None:
        return self.entries.get(key)

    def set(self, key: bytes, value: bytes) -> None:
        self.entries[key] = value

    def delete(self, key: bytes) -> bool:
        return self.entries.pop(key, None) is not None

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(self.entries)


def switchboard(*counters: tuple[int, int]) -> Switchboard:
    """Of a host with that many processors, and the key pairs 5 to 8."""
    slots = [SLOT.pack(5 + number, bytes(25)) for number in range(KEY_SLOTS)]
    slots += [SLOT.pack(0, bytes(25))] * KEY_SLOTS
    settings = Entries({bytes(4): SETTINGS.pack(0, 0, 0, 0, bytes(2), *slots, bytes(8 * SEED_WORDS))})
    counted = b"".join(COUNTERS.pack(*one) for one in counters)
    return Switchboard(settings, Entries({bytes(4): counted}), Entries({}))


def test_the_processors_connections_are_added_up() -> None:
    assert switchboard((3, 0), (0, 0), (4, 7)).counters() == (7, {7})
    assert switchboard((0xFFFFFFFF, 5), (2, 6)).counters() == (1, {5, 6}), "modulo 2^32"


def test_keys_that_any_processor_has_used_are_replaced_and_others_are_not() -> None:
    for counters, replaced in ((((1, 7), (0, 0)), True), (((1, 4), (1, 8)), True), (((1, 4), (0, 0)), False)):
        present = switchboard(*counters)
        assert Keyring(Entries({}), present).rotate() is replaced, counters
        assert (5 in {number for number, _ in present.read().slots}) is not replaced


def numbered(*numbers: int) -> dict[bytes, bytes]:
    return {number.to_bytes(4, "little"): bytes(24) for number in numbers}


def test_a_key_pair_is_forgotten_when_no_handshake_can_have_it_any_more() -> None:
    private = Entries(numbered(3, 4, 5, 8))
    keyring = Keyring(private, switchboard((1, 5)))
    assert keyring.forget({3}, now=1000.0) == 0, "a handshake may be under way with the pair 4"
    assert keyring.forget({3}, now=1000.0 + HANDSHAKE_SECONDS - 1) == 0
    assert keyring.forget({3, 4}, now=1000.0 + HANDSHAKE_SECONDS) == 0, "it was"
    later = 1000.0 + 2 * HANDSHAKE_SECONDS
    assert keyring.forget({3}, later) == 0
    assert keyring.forget({3}, later + HANDSHAKE_SECONDS) == 1
    assert private.entries.keys() == numbered(3, 5, 8).keys(), "a connection has the first, slots have the others"


class Full(Entries):
    def set(self, key: bytes, value: bytes) -> None:
        raise OSError(errno.E2BIG, "full")


def test_where_there_is_no_room_for_another_the_present_ones_serve_on() -> None:
    present = switchboard((1, 5))
    assert Keyring(Full({}), present).rotate() is False
    assert {number for number, _ in present.read().slots} == {5, 6, 7, 8}
