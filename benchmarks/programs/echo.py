"""Echoes what it is sent on any number of connections.

python -m benchmarks.programs.echo PORT
"""

from __future__ import annotations

import resource
import selectors
import socket
import sys

BACKLOG = 4096
DESCRIPTORS = 8192


def main() -> None:
    port = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    selector = selectors.DefaultSelector()
    with socket.create_server(("", port), backlog=BACKLOG) as listener:
        selector.register(listener, selectors.EVENT_READ)
        print("ready", flush=True)
        while True:
            for key, _ in selector.select():
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                if sock is listener:
                    selector.register(listener.accept()[0], selectors.EVENT_READ)
                    continue
                said = sock.recv(65536)
                if said:
                    sock.sendall(said)
                else:
                    selector.unregister(sock)
                    sock.close()


if __name__ == "__main__":
    main()
