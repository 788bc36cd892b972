from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.topologies.inside import in_sandbox
from tests.topologies.pair import commands, pair
from topologies.links import Veth
from topologies.network import LabTopo, Network
from topologies.nodes import BaseStation, Host, NodeError, Router


@contextlib.contextmanager
def alone(cls: type[Host] = Host) -> Iterator[Host]:
    host = cls("alone")
    try:
        yield host
    finally:
        host.terminate()


def namespace(pid: int | str, kind: str) -> str:
    return os.readlink(f"/proc/{pid}/ns/{kind}")


@pytest.mark.kernel
def test_nodes_are_made_in_a_sandbox_only() -> None:
    with pytest.raises(NodeError, match="in a sandbox only: python -m topologies.sandbox"):
        Host("outside")


@in_sandbox
def test_a_program_runs_in_the_hosts_network_namespace_and_in_no_other_of_its_own() -> None:
    with alone() as host:
        process = host.spawn(["sleep", "100"])
        while Path(f"/proc/{process.pid}/comm").read_text() != "sleep\n":
            time.sleep(0.001)
        assert namespace(process.pid, "net") == namespace(host.pid, "net") != namespace("self", "net")
        for kind in ("mnt", "pid", "cgroup", "uts", "ipc"):
            assert namespace(process.pid, kind) == namespace("self", kind)
        # Mininet's own shell is elsewhere: that is why programs are not started by it.
        assert namespace(host.pid, "mnt") != namespace("self", "mnt")
        listing = host.run(["ls", "/sys/fs/bpf", "/sys/fs/cgroup"]).stdout
        assert "alone" in listing


@in_sandbox
def test_programs_and_daemons_have_a_cgroup_each() -> None:
    with alone() as host:
        assert host.run(["cat", "/proc/self/cgroup"]).stdout.splitlines()[-1] == "0::/alone/programs"
        assert host.run(["cat", "/proc/self/cgroup"], daemon=True).stdout.splitlines()[-1] == "0::/alone/daemon"
        assert host.programs_cgroup == Path("/sys/fs/cgroup/alone/programs")


@in_sandbox
def test_a_program_is_in_its_cgroup_from_its_first_instruction_on() -> None:
    """Migrate's hooks act on sockets by the cgroup at their creation."""
    with alone() as host:
        (host.programs_cgroup / "cgroup.freeze").write_text("1")
        process = host.spawn(["sh", "-c", "echo ran"], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert not select.select([process.stdout], [], [], 0.2)[0], "it ran before it was in the frozen cgroup"
        (host.programs_cgroup / "cgroup.freeze").write_text("0")
        assert process.stdout.read() == "ran\n"


@in_sandbox
def test_arguments_environment_and_streams_arrive_as_given() -> None:
    with alone() as host:
        show = "import os, sys; print(sys.argv[1:], os.environ.get('A'), os.environ.get('HOME'), sys.stdin.read())"
        words = ["a b", "$HOME", "'", "--", "-n", ""]
        done = host.run([sys.executable, "-c", show, *words], stdin="in")
        assert done.stdout == f"{words} None {os.environ.get('HOME')} in\n"
        process = host.spawn([sys.executable, "-c", show], env={"A": "1"}, stdout=subprocess.PIPE, text=True)
        assert process.communicate()[0] == "[] 1 None \n"


@in_sandbox
def test_a_program_has_a_session_of_its_own() -> None:
    with alone() as host:
        process = host.spawn(["sleep", "100"])
        assert os.getsid(process.pid) == process.pid != os.getsid(0)


@in_sandbox
def test_programs_can_be_started_by_several_threads_at_once() -> None:
    here = namespace("thread-self", "net")
    hosts = [Host(name) for name in ("h1", "h2", "h3")]
    wanted = {host.name: namespace(host.pid, "net") for host in hosts}

    def start(number: int) -> bool:
        host = hosts[number % 3]
        with host.entered():
            inside = namespace("thread-self", "net")
        return host.run(["readlink", "/proc/self/ns/net"]).stdout.strip() == inside == wanted[host.name]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(start, range(60)))
    assert namespace("thread-self", "net") == here
    for host in hosts:
        host.terminate()


@in_sandbox
def test_errors_are_sentences() -> None:
    with alone() as host:
        with pytest.raises(NodeError, match="alone: there is no program nginxx: install it, or correct the name"):
            host.spawn(["nginxx"])
        with pytest.raises(NodeError, match=r"alone: `ls /nowhere` failed: ls: cannot access '/nowhere'"):
            host.run(["ls", "/nowhere"])
        assert host.run(["ls", "/nowhere"], check=False).returncode == 2
        with pytest.raises(NodeError, match="alone: `sleep 9` did not end within 0.1 s"):
            host.run(["sleep", "9"], timeout=0.1)
        with pytest.raises(NodeError, match=r"alone: `ip address add 10.0.0.1/24 dev eth9` failed: .*eth9"):
            host.add_address("eth9", "10.0.0.1/24")
        with pytest.raises(ValueError, match=r"10\.0\.0\.300"):
            host.add_address("lo", "10.0.0.300/24")
        with pytest.raises(NodeError, match="one of .* failed"):
            host.ip_batch(4, ["address add 10.0.0.1/24 dev lo", "route add default via 192.168.7.1"])


@in_sandbox
def test_addresses_are_valid_at_once_and_go_again() -> None:
    topo = LabTopo()
    topo.addHost("one", cls=Host)
    topo.addHost("two", cls=Router)
    topo.link("one", "two", Veth())
    with Network(topo) as network:
        one = network.nodes["one"]
        for address in ("10.0.1.2/24", "fd00:1::2/64"):
            one.add_address("one-eth0", address)
            shown = one.ip("address", "show", "dev", "one-eth0")
            assert address in shown
            assert "tentative" not in shown
            assert "fe80" not in shown
            one.remove_address("one-eth0", address)
            assert address not in one.ip("address", "show", "dev", "one-eth0")


@in_sandbox
def test_routes_carry_their_metrics() -> None:
    topo = LabTopo()
    topo.addHost("one", cls=Host)
    topo.addHost("two", cls=Host)
    topo.link("one", "two", Veth())
    with Network(topo) as network:
        one = network.nodes["one"]
        for address, gateway in (("10.0.1.2/24", "10.0.1.1"), ("fd00:1::2/64", "fd00:1::1")):
            one.add_address("one-eth0", address)
            one.default_route(gateway, "one-eth0", initcwnd=2, window=32120, congctl="cubic")
            version = "-6" if ":" in gateway else "-4"
            shown = one.ip(version, "route", "show", "default")
            assert all(word in shown for word in (gateway, "initcwnd 2", "window 32120", "congctl cubic")), shown
            one.default_route(gateway, "one-eth0", initcwnd=3)
            assert "initcwnd 3" in one.ip(version, "route", "show", "default")


@in_sandbox
def test_sysctls_are_the_hosts_own() -> None:
    before = Path("/proc/sys/net/ipv4/tcp_sack").read_text()
    with alone() as host:
        assert host.sysctl("net.ipv4.tcp_sack", 0) == "0"
        assert host.sysctl("net.ipv4.tcp_sack") == "0"
        assert Path("/proc/sys/net/ipv4/tcp_sack").read_text() == before
        with pytest.raises(NodeError, match="kernel.pid_max is not a net. sysctl"):
            host.sysctl("kernel.pid_max", 5)
        with pytest.raises(NodeError, match="alone: net.ipv4.tcp_nonsense cannot read"):
            host.sysctl("net.ipv4.tcp_nonsense")
        with pytest.raises(NodeError, match=r"net.ipv4.tcp_congestion_control cannot be set to nonsense"):
            host.sysctl("net.ipv4.tcp_congestion_control", "nonsense")


@in_sandbox
def test_only_routers_forward() -> None:
    for cls, wanted in ((Host, "0"), (Router, "1"), (BaseStation, "1")):
        with alone(cls) as host:
            for family in ("ipv4", "ipv6"):
                assert host.sysctl(f"net.{family}.conf.all.forwarding") == wanted


@in_sandbox
def test_the_end_of_a_host_is_the_end_of_all_it_started() -> None:
    host = Host("alone")
    fork = "import os, signal, time\nsignal.signal(15, signal.SIG_IGN)\nif os.fork(): os._exit(0)\nos.setsid()\n"
    host.spawn([sys.executable, "-c", f"{fork}open('/run/started', 'w').close(); time.sleep(100)"])
    frozen = host.spawn(["sleep", "100"])
    while not Path("/run/started").exists():
        time.sleep(0.01)
    (host.programs_cgroup / "cgroup.freeze").write_text("1")
    host.terminate()
    assert frozen.returncode == -signal.SIGKILL
    assert not Path("/sys/fs/cgroup/alone").exists()
    assert not any(b"/run/started" in command or b"mininet:alone" in command for command in commands())


@in_sandbox
def test_no_connection_outlives_its_host() -> None:
    """Its peer has gone silent: it would wait for an answer to its FIN, for minutes."""
    with pair(Veth()) as (one, two, _):
        with two.entered():
            listener = socket.create_server(("10.0.0.2", 7000))
        client = "import socket, time\ns = socket.create_connection(('10.0.0.2', 7000))\ntime.sleep(100)"
        one.spawn([sys.executable, "-c", client])
        accepted = listener.accept()[0]
        two.ip("link", "set", "dev", "two-eth0", "down")
        kept = os.open(one.namespace, os.O_RDONLY)
        one.terminate()
        left = subprocess.run(
            ["nsenter", f"--net=/proc/{os.getpid()}/fd/{kept}", "ss", "--tcp", "--all", "--no-header"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert not left.stdout
        accepted.close()


@in_sandbox
def test_a_host_of_the_same_name_can_follow() -> None:
    for _ in range(2):
        with alone() as host:
            host.run(["true"])


@in_sandbox
def test_the_thread_comes_back_from_a_namespace_after_an_error() -> None:
    here = namespace("thread-self", "net")

    def fail_inside(host: Host) -> None:
        with host.entered():
            assert namespace("thread-self", "net") == namespace(host.pid, "net")
            raise ZeroDivisionError

    with alone() as host:
        with pytest.raises(ZeroDivisionError):
            fail_inside(host)
        assert namespace("thread-self", "net") == here
