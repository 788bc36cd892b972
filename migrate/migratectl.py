"""`migratectl`: asks the migrated of this host, which is the one of this network namespace."""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
from typing import Any

from migrate.daemon.control import SOCKET_NAME
from migrate.failover.control import SOCKET_NAME as WEDGE_SOCKET_NAME


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="migratectl", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("list", help="every TCP connection: migratable or not, in which state, and why")
    commands.add_parser("status", help="how many connections can move, and why the others cannot")
    migrate = commands.add_parser("migrate", help="move connections to another address of this host, now")
    migrate.add_argument("--to", required=True, metavar="ADDRESS")
    migrate.add_argument("--connection", metavar="ID", help="only this one (default: all)")
    commands.add_parser("events", help="follow the daemon's events until interrupted")
    dead = commands.add_parser("dead", help="tell the support group of this host's wedge that a server is dead")
    dead.add_argument("server", metavar="NAME", help="the server's name in the group")
    dead.add_argument("--here", action="store_true", help="tell only this host's wedge, which then takes over alone")
    take = commands.add_parser("take", help="have this host's wedge take one connection over, whoever has it")
    take.add_argument("connection", metavar="ID", help="as in `list`, the same on all hosts")
    commands.add_parser("wedge", help="what this host's wedge serves, and what it knows of the others")
    for command in commands.choices.values():
        command.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def _connect(name: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.connect(name)
    return sock


def _table(rows: list[dict[str, Any]], columns: list[str]) -> str:
    if not rows:
        return "none"
    lines = [[column.upper() for column in columns]]
    lines += [[str(row.get(column, "")) for column in columns] for row in rows]
    widths = [max(len(line[at]) for line in lines) for at in range(len(columns))]
    padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    return "\n".join("  ".join(line).rstrip() for line in padded)


def _connection_row(row: dict[str, Any]) -> dict[str, Any]:
    return row | {
        "local": f"{row['local']}.{row['local_port']}",
        "remote": f"{row['remote']}.{row['remote_port']}",
        "migratable": "yes" if row["migratable"] else "no",
    }


def _status(said: dict[str, Any]) -> str:
    lines = [f"{said['connections']} TCP connections, {said['migratable']} migratable, {said['movable']} can move now"]
    return "\n".join(lines + [f"{count:6}  {reason}" for reason, count in said["not_movable"].items()])


def _event_line(line: str) -> str:
    event = json.loads(line)
    front = f"{event['time']:.6f}  {event['connection']:8}  {event['state']:12}"
    return f"{front}  {event['event']}  {event['cause']}".rstrip()


def main(argv: list[str] | None = None) -> int:
    arguments = _arguments(argv)
    if os.geteuid() != 0:
        print("migratectl needs root: start it with sudo", file=sys.stderr)
        return 1
    request: dict[str, Any] = {"do": arguments.command}
    if arguments.command == "migrate":
        request |= {"to": arguments.to} | ({"connection": arguments.connection} if arguments.connection else {})
    of_wedge = arguments.command in ("dead", "take", "wedge")
    if arguments.command == "dead":
        request |= {"server": arguments.server, "here": arguments.here}
    elif arguments.command == "take":
        request["connection"] = arguments.connection
    elif arguments.command == "wedge":
        request["do"] = "status"
    try:
        sock = _connect(WEDGE_SOCKET_NAME if of_wedge else SOCKET_NAME)
    except ConnectionRefusedError:
        program = "wedge" if of_wedge else "migrated"
        print(f"no {program} serves this host: start one in this network namespace", file=sys.stderr)
        return 1
    with sock, sock.makefile("r") as answers:
        sock.sendall(json.dumps(request).encode() + b"\n")
        if arguments.command == "events":
            try:
                for line in answers:
                    print(line.rstrip() if arguments.json else _event_line(line), flush=True)
            except KeyboardInterrupt:
                return 0
            print("migrated has ended", file=sys.stderr)
            return 1
        answer = json.loads(answers.readline() or '{"error": "migrated ended while it was asked"}')
    if "error" in answer:
        print(answer["error"], file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps(answer["result"], indent=1))
    elif arguments.command == "list":
        columns = ["connection", "local", "remote", "tcp", "migratable", "state", "moves", "reason"]
        print(_table([_connection_row(row) for row in answer["result"]], columns))
    elif of_wedge:
        print("\n".join(f"{key}: {value}" for key, value in answer["result"].items()))
    elif arguments.command == "status":
        print(_status(answer["result"]))
    else:
        print(_table(answer["result"], ["connection", "result"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
