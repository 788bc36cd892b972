"""`python -m migrate.failover.monitor`: checks servers, and tells the support group which of them are dead.

A check is a HEAD request through the server's wedge, which must be answered in time and not with 5xx.  The monitor
decides nothing: a member that hears of a death looks itself what it can go on with.  A death is told again at every
check for as long as it lasts, since a datagram may be lost.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

from migrate.daemon.events import EventLog
from migrate.failover.group import Group, parse_address
from migrate.failover.health import Health, Verdict
from migrate.failover.messages import Dead
from migrate.failover.seal import check_key


@dataclass(frozen=True, slots=True)
class Server:
    """One to be checked: its name in the group, and where a check goes."""

    name: str
    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, text: str) -> Server:
        """Of NAME=http://HOST:PORT/PATH.  Raises ValueError."""
        name, _, url = text.partition("=")
        parts = urllib.parse.urlsplit(url)
        if not name or parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"{text} is not NAME=http://HOST:PORT/PATH")
        return cls(name, parts.hostname, parts.port or 80, parts.path or "/")


async def check(server: Server, timeout: float) -> str:
    """ "" where the server is well, else what is wrong; at most `timeout` seconds."""
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection(server.host, server.port)
            try:
                at = f"[{server.host}]" if ":" in server.host else server.host
                request = f"HEAD {server.path} HTTP/1.1\r\nHost: {at}:{server.port}\r\nConnection: close\r\n\r\n"
                writer.write(request.encode())
                line = await reader.readline()
            finally:
                writer.close()
    except TimeoutError:
        return f"no answer within {timeout:g} s"
    except OSError as error:
        return error.strerror or "no connection"
    words = line.split()
    if len(words) < 2 or not words[1].isdigit():
        return "its answer is not HTTP"
    return f"it answers {words[1].decode()}" if words[1].startswith(b"5") else ""


async def watch(server: Server, health: Health, group: Group, log: EventLog, interval: float, timeout: float) -> None:
    """Checks one server for ever."""
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        wrong = await check(server, timeout)
        verdict = health.checked(not wrong)
        if verdict is not Verdict.SAME:
            log.write("", server.name, verdict.name.lower(), wrong)
            print(
                f"monitor: {server.name} is {verdict.name.lower()}{wrong and ': '}{wrong}", file=sys.stderr, flush=True
            )
        if health.dead:
            group.say(Dead(server.name))
        await asyncio.sleep(max(0.0, began + interval - loop.time()))


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="monitor", description=__doc__)
    add = parser.add_argument
    add("--server", type=Server.parse, action="append", required=True, metavar="NAME=URL", help="once for each")
    add("--group-key", type=Path, required=True, metavar="FILE", help="the support group's key")
    add("--member", type=parse_address, action="append", required=True, metavar="ADDRESS:PORT", help="as the wedge's")
    add("--interval", type=float, default=1.0, metavar="SECONDS", help="between two checks (default %(default)s)")
    add("--timeout", type=float, default=1.0, metavar="SECONDS", help="for an answer (default %(default)s)")
    add("--failures", type=int, default=3, metavar="N", help="in a row that make a server dead (default %(default)s)")
    add("--events", type=Path, metavar="FILE", help="append each verdict to this file as a line of JSON")
    return parser.parse_args(argv)


async def _watch_all(arguments: argparse.Namespace, key: bytes, log: EventLog) -> None:
    group = Group(key, "monitor", None, arguments.member, lambda sentence: print(sentence, file=sys.stderr, flush=True))
    print("ready", flush=True)
    await asyncio.gather(
        *(
            watch(server, Health(arguments.failures), group, log, arguments.interval, arguments.timeout)
            for server in arguments.server
        )
    )


def main(argv: list[str] | None = None) -> int:
    arguments = _arguments(argv)
    with contextlib.ExitStack() as stack:
        try:
            key = check_key(arguments.group_key.read_bytes().strip())
            file = stack.enter_context(arguments.events.open("a")) if arguments.events else None
        except (OSError, ValueError) as error:
            print(f"monitor: {error}", file=sys.stderr)
            return 1
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(_watch_all(arguments, key, EventLog(file)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
