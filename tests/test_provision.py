"""vagrant/provision.sh with the package manager, Python and the machine's files replaced."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from scenarios.ownership import ROOT

DEBIAN = 'ID=debian\nVERSION_ID="12"\n'
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: run ./run_all.sh test")


class Machine:
    """A checkout on a machine where `missing` packages are missing."""

    def __init__(self, place: Path) -> None:
        self.root = place / "lab"
        self.stubs = place / "stubs"
        self.calls = place / "calls"
        self.missing = place / "missing"
        self.release = place / "os-release"
        self.policy = place / "policy-rc.d"
        self.told = place / "told"
        self.calls.touch()
        self.release.write_text(DEBIAN)
        self.missing.write_text("curl\ntshark\n")
        (self.root / "vagrant").mkdir(parents=True)
        (self.root / "migrate" / "linux" / "bpf").mkdir(parents=True)
        (self.root / "migrate" / "linux" / "build.py").touch()
        self.source = self.root / "migrate" / "linux" / "bpf" / "some.bpf.c"
        self.source.touch()
        shutil.copy(ROOT / "requirements.txt", self.root)
        text = (ROOT / "vagrant" / "provision.sh").read_text()
        for path, replaced in {
            "/etc/os-release": self.release,
            "/usr/sbin/policy-rc.d": self.policy,
            "/usr/bin/python3": self.stubs / "python3",
            "/etc/init.d/": place / "init.d-",
            "/lib/systemd/system/": place / "units-",
        }.items():
            assert path in text
            text = text.replace(path, str(replaced))
        self.script = self.root / "vagrant" / "provision.sh"
        self.script.write_text(text)
        self.script.chmod(0o755)
        self.stub("dpkg-query", f'! grep -qxF "${{*: -1}}" {self.missing} && echo installed')
        self.stub("python3", f"case $1 in -c) echo 3.11 ;; -m) {self._make_venv()} ;; esac")
        self.apt()

    def _make_venv(self) -> str:
        python = self.root / ".venv" / "bin" / "python"
        script = f'#!/bin/bash\\ncase "$1 $2" in "-m pip") echo pip >>{self.calls};; '
        script += f'"-m migrate.linux.build") touch {self.source.with_suffix(".o")};; esac\\n'
        return f"mkdir -p {python.parent}; printf '{script}' >{python}; chmod 755 {python}; touch {python.parent}/pip"

    def stub(self, name: str, script: str) -> None:
        """A program on the PATH that is this script."""
        path = self.stubs / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/bash\ncalls={self.calls}\n{script}\n")
        path.chmod(0o755)

    def apt(self, *, update: str = "true", fetch: str = "true", install: str = "true") -> None:
        """What the package manager does when it refreshes its lists, fetches and installs."""
        self.stub(
            "apt-get",
            f"""case $1 in
            update) {update} ;;
            install)
              if [[ " $* " == *" --download-only "* ]]; then {fetch}; exit; fi
              echo "install ${{*: -2}}" >>$calls
              cat {self.policy} >>$calls
              {install} ;;
            esac""",
        )

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": f"{self.stubs}:{os.environ['PATH']}"}
        return subprocess.run(
            [self.script, *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    def run_until(self, call: str) -> int:
        """Its exit status when it is told to end as soon as `call` has been called; then `told` is there."""
        with subprocess.Popen([self.script], env={"PATH": f"{self.stubs}:{os.environ['PATH']}"}) as process:
            for _ in range(100):
                if call in self.called():
                    break
                time.sleep(0.1)
            process.terminate()
            self.told.touch()
            return process.wait()

    def done(self) -> bool:
        return self.run("--done").returncode == 0

    def called(self) -> list[str]:
        return self.calls.read_text().splitlines()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@as_root
def test_only_what_is_missing_is_installed_and_no_service_starts(machine: Machine) -> None:
    assert not machine.done()
    done = machine.run()
    assert (done.returncode, done.stderr) == (0, "")
    install, *policy, pip = machine.called()
    assert install == "install curl tshark"
    assert policy[-1] == "exit 101"
    assert pip == "pip"
    assert not machine.policy.exists()
    assert machine.done()


@as_root
def test_a_second_time_costs_nothing(machine: Machine) -> None:
    machine.run()
    machine.missing.write_text("")
    machine.calls.write_text("")
    done = machine.run()
    assert done.returncode == 0
    assert "everything is set up" in done.stdout
    assert machine.called() == []


@as_root
@pytest.mark.parametrize("change", ["requirements.txt", "migrate/linux/bpf/some.bpf.c", "migrate/linux/build.py"])
def test_what_it_was_made_from_has_changed(machine: Machine, change: str) -> None:
    machine.run()
    assert machine.done()
    with (machine.root / change).open("a") as file:
        file.write("\n")
    assert not machine.done()


@as_root
@pytest.mark.parametrize("lost", ["migrate/linux/bpf/some.bpf.o", ".venv/bin/python", ".venv/set-up.sha256"])
def test_what_it_made_is_lost(machine: Machine, lost: str) -> None:
    machine.run()
    assert machine.done()
    (machine.root / lost).unlink()
    assert not machine.done()


@as_root
def test_a_policy_that_was_there_comes_back_as_it_was(machine: Machine) -> None:
    machine.policy.write_text("#!/bin/sh\nexit 0\n")
    machine.policy.chmod(0o750)
    before = machine.policy.stat()
    machine.apt(install="false")
    assert machine.run().returncode == 1
    assert "exit 101" in machine.called()
    after = machine.policy.stat()
    assert (after.st_ino, after.st_mode, after.st_mtime_ns) == (before.st_ino, before.st_mode, before.st_mtime_ns)
    assert [path.name for path in machine.policy.parent.glob("policy*")] == ["policy-rc.d"]


@as_root
def test_a_policy_left_by_a_killed_set_up_goes_away(machine: Machine) -> None:
    machine.policy.write_text("#!/bin/sh\nexit 0\n")
    machine.apt(install="kill -9 $PPID; sleep 1")
    machine.run()
    assert "exit 101" in machine.policy.read_text()
    machine.apt()
    assert machine.run().returncode == 0
    assert machine.policy.read_text() == "#!/bin/sh\nexit 0\n"


@as_root
@pytest.mark.parametrize("stage", ["update", "fetch"])
def test_being_interrupted_ends_the_package_manager(machine: Machine, stage: str) -> None:
    wait = 'trap "echo ended >>$calls; exit 1" TERM; echo begun >>$calls; while :; do sleep 0.1; done'
    machine.apt(**{stage: wait})
    assert machine.run_until("begun") == 143
    assert machine.called() == ["begun", "ended"]
    assert not machine.policy.exists()


@as_root
def test_being_interrupted_lets_an_installation_finish(machine: Machine) -> None:
    wait = f"until [[ -e {machine.told} ]]; do sleep 0.1; done; sleep 1"
    machine.apt(install=f"echo begun >>$calls; {wait}; cat {machine.policy} >>$calls; echo finished >>$calls")
    assert machine.run_until("begun") == 143
    assert machine.called()[-2:] == ["exit 101", "finished"]
    assert not machine.policy.exists()
    assert not machine.done()


@as_root
@pytest.mark.parametrize(
    ("update", "install", "sentence"),
    [
        (
            "echo 'E: Could not resolve host' >&2; exit 100",
            "echo 'E: Unable to locate package curl' >&2; exit 100",
            "the packages could not be installed: Unable to locate package curl (and the package lists could not be "
            "refreshed: Could not resolve host). Check the network and the package sources, then run this again.",
        ),
        (
            "true",
            "echo 'E: dpkg was interrupted' >&2; exit 100",
            "the packages could not be installed: dpkg was interrupted. "
            "Check the network and the package sources, then run this again.",
        ),
    ],
)
def test_a_package_manager_that_fails_is_one_sentence(
    machine: Machine, update: str, install: str, sentence: str
) -> None:
    machine.apt(update=update, install=install)
    done = machine.run()
    assert done.returncode == 1
    assert done.stderr == f"vagrant/provision.sh: {sentence}\n"
    assert not machine.done()


@as_root
def test_stale_lists_do_not_matter_if_the_packages_can_be_had(machine: Machine) -> None:
    machine.apt(update="echo 'E: a repository is down' >&2; exit 100")
    assert machine.run().returncode == 0


@as_root
def test_python_packages_that_cannot_be_had_are_one_sentence(machine: Machine) -> None:
    python = machine.stubs / "python3"
    said = "ERROR: no matching distribution"
    python.write_text(python.read_text().replace(f"echo pip >>{machine.calls}", f'echo "{said}" >&2; exit 1'))
    done = machine.run()
    assert done.returncode == 1
    assert done.stderr == (
        "vagrant/provision.sh: the Python packages could not be installed: no matching distribution. "
        "Check the network, then run this again.\n"
    )
    assert not machine.done()


@pytest.mark.parametrize(
    ("release", "known"),
    [
        (DEBIAN, True),
        ("ID=debian\nVERSION_ID=13\n", True),
        ('ID=ubuntu\nVERSION_ID="24.04"\n', True),
        ("ID=debian\nVERSION_ID=11\n", False),
        ("ID=fedora\nVERSION_ID=42\n", False),
        ("", False),
    ],
)
def test_which_distributions_it_knows(machine: Machine, release: str, known: bool) -> None:
    machine.release.write_text(release)
    assert (machine.run("--known").returncode == 0) is known
    if os.geteuid() == 0 and not known:
        done = machine.run()
        assert done.returncode == 1
        assert "knows Debian 12, Debian 13 and Ubuntu 24.04, and this is '" in done.stderr
        assert machine.called() == []


def test_an_unknown_argument_is_one_sentence(machine: Machine) -> None:
    done = machine.run("--fast")
    assert done.returncode == 1
    assert done.stderr == ("vagrant/provision.sh: unknown argument '--fast': there are --done, --known and --help\n")


def test_without_root_it_says_how(machine: Machine) -> None:
    if os.geteuid() == 0:
        for path in [*machine.script.parents[:2], machine.script, machine.release]:
            path.chmod(0o755)
        text = machine.script.read_text().replace("$EUID -eq 0", "1 -eq 0")
        machine.script.write_text(text)
    done = machine.run()
    assert done.returncode == 1
    assert done.stderr == (
        "vagrant/provision.sh: installing packages needs root: run it as 'sudo vagrant/provision.sh'.\n"
    )
