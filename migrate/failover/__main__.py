"""`python -m migrate.failover`: the wedge of one replica.  Runs in the replica's network namespace and in the cgroup
that its migrated serves, in the foreground."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import resource
import sys
from pathlib import Path

from migrate.daemon.events import EventLog
from migrate.failover import choice
from migrate.failover.backend import Backend
from migrate.failover.control import Control
from migrate.failover.files import Files
from migrate.failover.group import Address, Group, parse_address
from migrate.failover.http import Http
from migrate.failover.mapping import Mapper
from migrate.failover.seal import check_key
from migrate.failover.settings import Settings
from migrate.failover.wedge import Wedge


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="wedge", description=__doc__)
    add = parser.add_argument
    add("--name", required=True, help="of this server, in the group")
    add("--port", type=int, default=8080, help="where clients come (default %(default)s)")
    add("--backend", type=Backend.parse, required=True, metavar="WHERE", help="the own server: HOST:PORT or unix:PATH")
    add("--group-key", type=Path, required=True, metavar="FILE", help="the support group's key, 16 bytes or more")
    add("--listen", type=parse_address, required=True, metavar="ADDRESS:PORT", help="for the group's datagrams")
    add("--member", type=parse_address, action="append", default=[], metavar="ADDRESS:PORT",
        help="of the group; once for each, or once for a multicast group's address")  # fmt: skip
    add("--mapper", choices=["http", "files"], default="http", help="what clients speak (default %(default)s)")
    add("--refresh", type=float, default=2.0, metavar="SECONDS", help="soft state is told so often")
    add("--most", type=int, default=10_000, metavar="N",
        help="with so many connections it takes over only what nobody else takes (default %(default)s)")  # fmt: skip
    add("--most-lag", type=float, default=0.5, metavar="SECONDS",
        help="likewise when its timers come so late (default %(default)s)")  # fmt: skip
    add("--step", type=float, default=choice.STEP_SECONDS, metavar="SECONDS",
        help="between the turns of two members; 0: all at once (default %(default)s)")  # fmt: skip
    add("--tries", type=int, default=1, metavar="N",
        help="Migrate SYNs with the first request number; each further has one more (default %(default)s)")  # fmt: skip
    add("--events", type=Path, metavar="FILE", help="append each event to this file as a line of JSON")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    arguments = _arguments(argv)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    mappers: list[Mapper] = [Http(), Files()]
    mappers.sort(key=lambda mapper: mapper.name != arguments.mapper)
    settings = Settings(
        name=arguments.name,
        port=arguments.port,
        backend=arguments.backend,
        refresh=arguments.refresh,
        most=arguments.most,
        most_lag=arguments.most_lag,
        step=arguments.step,
        tries=arguments.tries,
    )
    with contextlib.ExitStack() as stack:
        try:
            key = check_key(arguments.group_key.read_bytes().strip())
            file = stack.enter_context(arguments.events.open("a")) if arguments.events else None
        except (OSError, ValueError) as error:
            print(f"wedge: {error}", file=sys.stderr)
            return 1
        try:
            asyncio.run(_serve(settings, key, arguments.listen, arguments.member, mappers, EventLog(file)))
        except OSError as error:
            print(f"wedge: cannot serve: {os.strerror(error.errno or 0)}", file=sys.stderr)
            return 1
    return 0


async def _serve(
    settings: Settings, key: bytes, own: Address, members: list[Address], mappers: list[Mapper], log: EventLog
) -> None:
    def complain(sentence: str) -> None:
        wedge.note(sentence)

    group = Group(key, settings.name, own, members, complain)
    wedge = Wedge(settings, group, mappers, log)
    async with Control.listening(wedge):
        await wedge.run()


if __name__ == "__main__":
    sys.exit(main())
