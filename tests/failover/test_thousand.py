"""A server dies under a thousand clients at once."""

from __future__ import annotations

from tests.failover.house import PORT, Reader, address, house, until
from tests.topologies.inside import in_sandbox

CLIENTS = 1000
SIZE = 60_000


@in_sandbox
def test_a_thousand_clients_outlive_their_server() -> None:
    """All are taken over, and each gets the rest of its answer: nothing but the right bytes."""
    with house(offload=True) as place:
        wanted = place.file("object", SIZE)
        for server in place.servers:
            place.serve(server, main="worker_rlimit_nofile 16384;")
            place.wedge(server)
        reader = Reader(place.client)
        request = b"GET /object HTTP/1.1\r\nHost: replicas\r\n\r\n"
        reader("many", address("sA"), PORT, CLIENTS, request.hex(), 2_000)
        place.wedges["sB"].knows(CLIENTS)
        place.wedges["sA"].kill()
        assert place.wedges["sB"].pronounce("sA") == CLIENTS
        place.wedges["sB"].wait_event("taken-over", CLIENTS)
        assert reader("rests", SIZE) == {wanted: CLIENTS}
        until(lambda: place.wedges["sB"].ask(do="status")["known of others"] == 0, "nothing is left of sA's")
