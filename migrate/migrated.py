"""`migrated`: Migrate for the programs of one host.  Runs in the host's network namespace, in the foreground."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import os
import sys
from pathlib import Path
from typing import TextIO

from migrate.core import SynNumber
from migrate.daemon.control import claim
from migrate.daemon.guardian import guard, recover
from migrate.daemon.loaded import Loaded
from migrate.daemon.service import Options, Service
from migrate.linux.addresses import Tables
from migrate.linux.journal import Journal
from migrate.linux.programs import unload
from migrate.linux.routing import Routing
from migrate.linux.setup import SetupError
from migrate.linux.source_rule import remove_all

HIGHEST_PRIORITY = -20
AUTOGROUP = Path("/proc/self/autogroup")
DEFAULT_PINS = Path("/sys/fs/bpf")
DEFAULT_JOURNALS = Path("/run")


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="migrated", description=__doc__)
    add = parser.add_argument
    add(
        "--cgroup",
        type=Path,
        required=True,
        help="cgroup v2 directory of the programs to serve (not of migrated itself)",
    )
    add("--pins", type=Path, help="where its eBPF maps are pinned (default: below /sys/fs/bpf, by network namespace)")
    add(
        "--journal",
        type=Path,
        help="where a rebind under way is written down (default: below /run, by network namespace); the next migrated "
        "finishes it should this one be killed, so the file must outlive it, and is better gone at the next boot",
    )
    add("--events", type=Path, help="append each event to this file as a line of JSON")
    add(
        "--keylog",
        type=Path,
        help="append key pairs to this file, for tools that judge traces; whoever reads it can move connections",
    )
    add(
        "--msl",
        type=_seconds,
        default=30.0,
        metavar="SECONDS",
        help="MIGRATE_WAIT lasts two of them (default %(default)s)",
    )
    add(
        "--key-interval",
        type=_seconds,
        default=1.0,
        metavar="SECONDS",
        help="how long one key pair serves new connections (default %(default)s)",
    )
    add(
        "--syn-number",
        choices=[str(number) for number in SynNumber],
        default=str(SynNumber.UNA),
        help="sequence number of this host's segments 5 and 6: one less than snd_una, as the draft has it, or than "
        "snd_nxt, which strict firewalls and NATs pass more often (default %(default)s)",
    )
    add(
        "--syn-window-scale",
        action="store_true",
        help="repeat the window scale in segments 5 and 6, where the draft has no such option: firewalls that check "
        "windows take later ones for what they are",
    )
    add(
        "--enter-tracking",
        action="store_true",
        help="enter connections that move into this host's own connection tracking, for a stateful firewall on the "
        "host itself (needs ctnetlink)",
    )
    add(
        "--insecure",
        action="store_true",
        help="open connections without keys, and accept such (the draft's variant for experiments): whoever knows a "
        "connection's sequence numbers can move it",
    )
    add("--unload", action="store_true", help="detach and unpin everything that an earlier migrated left, and end")
    return parser.parse_args(argv)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 86400:
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds above 0")
    return seconds


def main(argv: list[str] | None = None) -> int:
    arguments = _arguments(argv)
    if os.geteuid() != 0:
        print("migrated needs root: start it with sudo", file=sys.stderr)
        return 1
    if not (arguments.cgroup / "cgroup.procs").exists():
        print(f"{arguments.cgroup} is no cgroup v2 directory: make one and put the programs into it", file=sys.stderr)
        return 1
    namespace = os.stat("/proc/self/ns/net").st_ino
    options = Options(
        cgroup=arguments.cgroup,
        pins=arguments.pins or DEFAULT_PINS / f"migrate-{namespace}",
        events=arguments.events,
        keylog=arguments.keylog,
        msl=arguments.msl,
        key_interval=arguments.key_interval,
        syn_number=SynNumber(arguments.syn_number),
        syn_window_scale=arguments.syn_window_scale,
        enter_tracking=arguments.enter_tracking,
        insecure=arguments.insecure,
    )
    try:
        # It stands in for the kernel, for a moment and while others wait: it does not queue up behind busy programs.
        with contextlib.suppress(OSError):  # a container without CAP_SYS_NICE: slower, not wrong
            _hurry()
        claim().close()  # a second daemon is turned away before it touches anything
        journal = _journal(arguments.journal or DEFAULT_JOURNALS / f"migrate-{namespace}.journal")
        recover(journal, options.cgroup, options.pins)  # in case a guardian and its worker died in a rebind
        (options.cgroup / "cgroup.freeze").write_text("0")
        if arguments.unload:
            _unload(options)
            status = 0
        else:
            status = _guarded(options, journal)
        journal.remove()
        return status
    except SetupError as error:
        print(error, file=sys.stderr)
        return 1


def _hurry() -> None:
    """The highest priority among the host's programs.  Raises OSError.

    A kernel that groups processes by session (CONFIG_SCHED_AUTOGROUP) weighs their priorities within the session only,
    and the sessions among each other by a priority of their own."""
    os.setpriority(os.PRIO_PROCESS, 0, HIGHEST_PRIORITY)
    if os.getsid(0) == os.getpid() and AUTOGROUP.exists():  # no others are in that session
        AUTOGROUP.write_text(str(HIGHEST_PRIORITY))


def _journal(path: Path) -> Journal:
    try:
        return Journal(path)
    except OSError as error:
        raise SetupError(f"cannot use {path} ({error.strerror}): name another file by --journal") from error


def _guarded(options: Options, journal: Journal) -> int:
    try:
        return guard(functools.partial(_work, options), journal, options.cgroup, options.pins)
    except SetupError as error:
        print(error, file=sys.stderr)
        return 1


def _work(options: Options, loaded: Loaded, journal: Journal) -> int:
    try:
        with contextlib.ExitStack() as stack:
            log = _append(options.events, stack, 0o644)
            keylog = _append(options.keylog, stack, 0o600)
            asyncio.run(_serve(options, loaded, journal, log, keylog))
    except SetupError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _append(path: Path | None, stack: contextlib.ExitStack, mode: int) -> TextIO | None:
    if path is None:
        return None
    try:
        return stack.enter_context(os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, mode), "a"))
    except OSError as error:
        raise SetupError(f"cannot write {path}: {error.strerror}") from error


async def _serve(options: Options, loaded: Loaded, journal: Journal, log: TextIO | None, keylog: TextIO | None) -> None:
    await Service(options, loaded, journal, log, keylog).run()


def _unload(options: Options) -> None:
    with Routing() as routing, contextlib.closing(Tables()) as tables:
        remove_all(routing)
        unload(options.pins, options.cgroup, routing, [interface.index for interface in tables.interfaces()])


if __name__ == "__main__":
    sys.exit(main())
