"""Wedges with a mistake each, and what becomes of a client whose server is pronounced dead in the middle."""

from __future__ import annotations

import hashlib

from tests.failover.house import House, Reader, house, until
from tests.failover.test_requests import answer
from tests.failover.test_wedge import MORE
from tests.topologies.inside import in_sandbox

SIZE = 300_000
SECONDS = 5.0
"""Longer than a take-over takes, also where a first segment is lost and TCP waits for its first timeouts."""


def outcome(place: House, wrong: str, name: str, position: int, earlier: bool = False) -> str:
    """What a client gets of an object, `position` bytes of whose answer it had from sA; sA is killed."""
    for server in place.servers:
        place.wedge(server, wrong=wrong)
    taker, before = place.wedges["sB"], len(place.wedges["sB"].events())
    reader = Reader(place.client)
    number = reader.connect(buffer=4096)
    for asked in (["large"] if earlier else []) + [name]:
        reader.get(number, asked)  # at once: the backend waits for another request no longer than a second
    if earlier:
        answer(reader, number)
    first = reader.read(number, position)
    taker.knows()
    place.wedges["sA"].kill()
    taker.pronounce("sA")
    decided = ("taken-over", "refused", "reset")
    until(lambda: any(event["event"] in decided for event in taker.events()[before:]), f"sB decides ({wrong})")
    reader("patience", number, SECONDS)
    said = str(reader("read", number, SIZE + 40_000 - position))
    reader.process.kill()
    taker.kill()
    stream = first + (bytes.fromhex(said) if not said.startswith(("Timeout", "Connection")) else b"")
    if said.startswith(("Timeout", "Connection")):
        return said.split("Error")[0]
    head, _, data = stream.partition(b"\r\n\r\n")
    right = hashlib.sha256(data).hexdigest() == place.file(name, SIZE, on="sA")
    return "right" if right and head.count(b"HTTP/1.1") == 1 else "wrong bytes"


def after_a_kill(place: House, wrong: str) -> str:
    """What a client sees of sA's death while nobody has called it dead."""
    for server in place.servers:
        place.wedge(server, wrong=wrong)
    reader = Reader(place.client)
    number = reader.connect(buffer=4096)
    reader.get(number, "large")
    reader.read(number, 50_000)
    place.wedges["sA"].kill()
    place.wedges["sB"].kill()
    reader("patience", number, SECONDS)
    said = str(reader("read", number, SIZE))
    reader.process.kill()
    return "it waits" if said.startswith("Timeout") else "the end of its stream"


@in_sandbox
def test_mistakes_show() -> None:
    """Each has an outcome of its own; without a mistake every one of these clients gets its object."""
    with house() as place:
        for server in place.servers:
            place.serve(server, more=MORE + "keepalive_timeout 1s;")
        for name in ("large", "padded/large"):
            place.file(name, SIZE)
        place.file("other", SIZE, on="sA")
        found = {
            "": outcome(place, "", "large", 50_000, earlier=True),
            "in a head": outcome(place, "", "padded/large", 1_000),
            "one_byte_late": outcome(place, "one_byte_late", "large", 50_000),
            "header_left": outcome(place, "header_left", "large", 50_000),
            "killed": after_a_kill(place, ""),
            "fin": after_a_kill(place, "fin"),
            "untold": outcome(place, "untold", "large", 50_000),
            "forgetful": outcome(place, "forgetful", "large", 50_000, earlier=True),
        }
        place.file("other", SIZE, on="sB", seed=2, modified=1_000_000_001)
        found["another object"] = outcome(place, "", "other", 50_000)
        found["unchecked"] = outcome(place, "unchecked", "other", 50_000)
    print(found)
    assert found == {
        "": "right",
        "in a head": "right",
        "one_byte_late": "wrong bytes",
        "header_left": "wrong bytes",
        "killed": "it waits",
        "fin": "the end of its stream",
        "untold": "Timeout",
        "forgetful": "Timeout",
        "another object": "Timeout",
        "unchecked": "wrong bytes",
    }
