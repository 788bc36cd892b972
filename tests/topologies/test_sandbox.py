from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.linux.lab import until
from tests.topologies.inside import in_sandbox
from topologies import sandbox
from topologies.sandbox import run_in_sandbox


def run(*argv: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    pipe = subprocess.PIPE
    process = run_in_sandbox(argv, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    out, err = process.communicate(stdin, timeout=20)
    return subprocess.CompletedProcess(argv, process.returncode, out, err)


@pytest.mark.kernel
@pytest.mark.parametrize("code", [0, 3, 125])
def test_the_exit_status_passes_through(code: int) -> None:
    assert run("sh", "-c", f"exit {code}").returncode == code


@pytest.mark.kernel
def test_a_command_that_a_signal_killed_is_reported_as_shells_do() -> None:
    assert run("sh", "-c", "kill -SEGV $$").returncode == 128 + signal.SIGSEGV


@pytest.mark.kernel
def test_input_and_output_pass_through() -> None:
    done = run("sh", "-c", "cat; echo err >&2", stdin="hello")
    assert (done.stdout, done.stderr) == ("hello", "err\n")


@pytest.mark.kernel
def test_the_module_is_a_command_too() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "topologies.sandbox", "sh", "-c", "exit 4"], check=False, capture_output=True
    )
    assert done.returncode == 4


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("argv", "code", "sentence"),
    [
        (["no-such-program"], 127, "sandbox: no-such-program: no such program; install it or correct the name\n"),
        (["/etc/passwd"], 126, "sandbox: /etc/passwd: Permission denied; it cannot be run\n"),
    ],
)
def test_a_command_that_cannot_be_run(argv: list[str], code: int, sentence: str) -> None:
    done = run(*argv)
    assert (done.returncode, done.stderr) == (code, sentence)


def test_without_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert sandbox.main(["--"]) == sandbox.FAILED
    assert "no command given" in capsys.readouterr().err
    assert sandbox.main(["--fast"]) == sandbox.FAILED
    assert "unknown option --fast" in capsys.readouterr().err


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert sandbox.main(["--help"]) == 0
    assert "python -m topologies.sandbox" in capsys.readouterr().out


def test_without_root(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert sandbox.main(["true"]) == sandbox.FAILED
    assert capsys.readouterr().err == "sandbox: network namespaces need root: run it with sudo, or as root\n"


@pytest.mark.kernel
def test_a_machine_that_forbids_namespaces_gets_one_sentence() -> None:
    """In most containers root has not all capabilities."""
    drop = ["setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin"]
    done = subprocess.run(
        [*drop, sys.executable, "-m", "topologies.sandbox", "true"], capture_output=True, text=True, check=False
    )
    assert done.returncode == sandbox.FAILED
    assert done.stderr.startswith("sandbox: ")
    assert done.stderr.count("\n") == 1
    assert "privileged" in done.stderr


@in_sandbox
def test_what_the_command_finds() -> None:
    assert sandbox.is_inside()
    assert Path("/proc/1/comm").exists()
    assert int(Path("/proc/self/stat").read_text().split()[0]) == os.getpid() < 20
    assert sorted(os.listdir("/sys/class/net")) == ["lo"]
    assert "UP" in subprocess.run(["ip", "link", "show", "lo"], capture_output=True, text=True, check=True).stdout
    assert Path("/proc/self/cgroup").read_text().splitlines()[-1] == "0::/init"
    assert Path("/sys/fs/cgroup/cgroup.procs").read_text() == ""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    types = {line.split()[4]: line.split(" - ")[1].split()[0] for line in mounts}
    assert types["/sys/fs/bpf"] == "bpf"
    assert types["/run"] == "tmpfs"
    assert types["/sys/fs/cgroup"] == "cgroup2"
    # Below /sys: elsewhere the machine may have bound its trees for a purpose of its own.
    assert sum(" /sys/" in line and " - cgroup" in line for line in mounts) == 1, "the machine's trees are out of sight"


@pytest.mark.kernel
def test_not_inside() -> None:
    assert not sandbox.is_inside()


@in_sandbox
def test_signals_are_as_a_program_expects_them() -> None:
    status = Path("/proc/self/status").read_text()
    blocked = next(line for line in status.splitlines() if line.startswith("SigBlk"))
    assert int(blocked.split()[1], 16) == 0
    shell = subprocess.run(["grep", "SigIgn", "/proc/self/status"], capture_output=True, text=True, check=True).stdout
    # Python ignores SIGPIPE for itself and gives it back to what it starts.
    assert int(shell.split()[1], 16) == 0


@in_sandbox
def test_orphans_are_reaped() -> None:
    done = subprocess.run(["sh", "-c", "sleep 0.05 >&2 & echo $!"], stdout=subprocess.PIPE, text=True, check=True)
    until(lambda: not Path("/proc", done.stdout.strip()).exists(), "it has ended, and nothing of it is left")


COUNTER = """
import signal, sys, time
seen = 0
def count(*_):
    global seen
    seen += 1
signal.signal(signal.SIGINT, count)
print("ready", flush=True)
end = time.monotonic() + 10
while not seen and time.monotonic() < end:
    time.sleep(0.01)
time.sleep(0.3)
print(seen)
"""


@pytest.mark.kernel
@pytest.mark.parametrize("kill", [os.kill, os.killpg], ids=["one", "group"])
def test_the_command_gets_a_signal_once(kill: Callable[[int, int], None]) -> None:
    """A Ctrl-C goes to the whole process group; a signal to the sandbox alone is passed on."""
    process = run_in_sandbox([sys.executable, "-c", COUNTER], stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    process.stdout.readline()
    kill(process.pid, signal.SIGINT)
    assert process.communicate(timeout=20)[0] == "1\n"
    assert process.returncode == 0


@pytest.mark.kernel
def test_a_command_that_ignores_sigterm_is_killed_after_a_while() -> None:
    code = "from topologies import sandbox; sandbox.GRACE_SECONDS = 0.3; raise SystemExit(sandbox.main())"
    stubborn = "trap '' TERM; echo ready; while :; do sleep 1; done"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "--", "sh", "-c", stubborn], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.terminate()
    assert process.wait(timeout=5) == 128 + signal.SIGKILL
    process.communicate()


@pytest.mark.kernel
def test_whoever_reads_the_output_sees_its_end_when_the_sandbox_is_killed() -> None:
    process = run_in_sandbox(
        ["sh", "-c", "sleep 1000 & echo ready; sleep 1000"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    start = time.monotonic()
    process.kill()
    process.communicate(timeout=10)
    assert time.monotonic() - start < 5


@pytest.mark.kernel
def test_several_side_by_side_with_the_same_names_and_addresses() -> None:
    script = (
        "ip link add same type veth peer other && ip address add 10.0.0.1/24 dev same && ip link set same up && "
        "mkdir /sys/fs/cgroup/same /sys/fs/bpf/same && touch /run/same && sleep 0.5 && ls /sys/class/net && hostname"
    )
    processes = [
        run_in_sandbox(["sh", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(4)
    ]
    said = [process.communicate(timeout=30)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, said
    assert len(set(said)) == 1


@in_sandbox
def test_cgroup_v2_that_is_mounted_nowhere_is_mounted_for_the_run_alone() -> None:
    subprocess.run(["umount", "/sys/fs/cgroup"], check=True)
    done = run("cat", "/proc/self/cgroup")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "0::/init"), done.stderr
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    assert not [line for line in mounts if " /sys/" in line and " - cgroup2 " in line]


@in_sandbox
def test_cgroup_v2_that_is_mounted_read_only_as_in_a_container() -> None:
    subprocess.run(["mount", "-o", "remount,bind,ro", "/sys/fs/cgroup"], check=True)
    done = run("cat", "/proc/self/cgroup")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "0::/init"), done.stderr
    assert "migrate-lab" not in " ".join(os.listdir("/sys/fs/cgroup"))


@in_sandbox
def test_a_killed_sandbox_takes_its_cgroup_along_even_from_a_mount_of_its_own() -> None:
    subprocess.run(["umount", "/sys/fs/cgroup"], check=True)
    process = run_in_sandbox(["sh", "-c", "echo ready; sleep 100"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    process.kill()
    process.communicate()
    subprocess.run(["mount", "-t", "cgroup2", "cgroup2", "/sys/fs/cgroup"], check=True)
    until(lambda: not list(Path("/sys/fs/cgroup").glob("migrate-lab*")), "it is gone")


@in_sandbox
def test_a_sandbox_is_made_in_a_chroot_that_is_no_mount_point() -> None:
    """Whoever tries the project in an unpacked system has such a root; Mininet's mnexec wants a mount point there."""
    script = """
        set -e
        for each in /*; do
            if [ -L "$each" ]; then cp -P "$each" "$1"
            elif [ -d "$each" ]; then mkdir "$1$each"; mount --rbind "$each" "$1$each"; fi
        done
        before=$(wc -l </proc/self/mountinfo)
        chroot "$1" sh -c 'cd "$1"; shift; exec "$@"' - "$2" "$3" -m topologies.sandbox -- mnexec -n pwd
        [ "$(wc -l </proc/self/mountinfo)" = "$before" ] || { echo "mounts have come out of the sandbox"; exit 9; }
    """
    root = Path("/run/root")
    root.mkdir()
    here = str(Path.cwd())
    done = subprocess.run(
        ["sh", "-c", script, "-", str(root), here, sys.executable],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, here + "\n", "")
