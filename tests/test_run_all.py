"""run_all.sh with everything around it replaced: the set-up, Python, sudo, Vagrant and ssh."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from scenarios import registry
from scenarios.ownership import ROOT

NOBODY = 65534
TOOLS = (
    *("awk", "bash", "cat", "cut", "dirname", "find", "grep", "ls", "mkdir", "mktemp"),
    *("mv", "nproc", "paste", "rm", "sed", "sort", "tar", "uname"),
)


class Checkout:
    """A copy of run_all.sh with sample scenarios, in a directory that anybody may read."""

    def __init__(self, place: Path) -> None:
        self.root = place / "lab"
        self.stubs = place / "stubs"
        self.calls = place / "calls"
        self.calls.touch()
        self.calls.chmod(0o666)
        shutil.copytree(ROOT / "tests" / "scenarios" / "samples", self.root / "scenarios")
        shutil.copy(ROOT / "run_all.sh", self.root)
        self.stubs.mkdir()
        for tool in TOOLS:  # and no others: this machine may have a Vagrant
            (self.stubs / tool).symlink_to(str(shutil.which(tool)))
        self.provision(done=True, known=True)
        self.stub(self.root / ".venv" / "bin" / "python", 'echo "python $*" >>"$calls"')

    def stub(self, path: Path | str, script: str) -> None:
        """A program on the PATH, or at a path, that is this script."""
        path = self.stubs / path
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/bash\ncalls={self.calls}\n{script}\n")
        path.chmod(0o755)

    def provision(self, *, done: bool, known: bool, works: bool = True) -> None:
        """The set-up: whether it has been done, knows the distribution, and works."""
        self.stub(
            self.root / "vagrant" / "provision.sh",
            f"""case ${{1:-}} in --done) exit {int(not done)} ;; --known) exit {int(not known)} ;; esac
            echo provision >>"$calls"; {"exit 0" if works else "echo no network >&2; exit 1"}""",
        )

    def run(self, *arguments: str, user: int | None = None) -> subprocess.CompletedProcess[str]:
        """run_all.sh with these arguments, as this user."""
        environment = {"PATH": str(self.stubs), "HOME": "/nonexistent"}
        return subprocess.run(
            [self.root / "run_all.sh", *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            user=user,
            check=False,
        )

    def called(self) -> list[str]:
        return self.calls.read_text().splitlines()


@pytest.fixture
def checkout() -> Iterator[Checkout]:
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        yield Checkout(Path(place))


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: run ./run_all.sh test")


def test_the_list_needs_nothing_and_agrees_with_the_sources(checkout: Checkout) -> None:
    checkout.provision(done=False, known=False, works=False)
    done = checkout.run("--list")
    assert done.returncode == 0
    listed = [tuple(line.split(maxsplit=1)) for line in done.stdout.splitlines()]
    assert listed == [(entry.name, entry.claim) for entry in registry.entries("tests.scenarios.samples")]
    assert checkout.called() == []


def test_the_real_list_agrees_with_the_sources() -> None:
    done = subprocess.run([ROOT / "run_all.sh", "--list"], capture_output=True, text=True, check=True)
    listed = [tuple(line.split(maxsplit=1)) for line in done.stdout.splitlines()]
    assert listed == [(entry.name, entry.claim) for entry in registry.entries()]


def test_help_needs_nothing(checkout: Checkout) -> None:
    checkout.provision(done=False, known=False, works=False)
    done = checkout.run("good", "--help")
    assert done.returncode == 0
    assert "--seed N" in done.stdout
    assert "set -" not in done.stdout
    assert checkout.called() == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nope"], "run_all.sh: unknown scenario 'nope': those there are: bad, crashing, dying, empty, good, "),
        (["--fast"], "run_all.sh: unknown option '--fast'; see ./run_all.sh --help"),
        (["good", "--seed"], "run_all.sh: the option --seed lacks its value; see ./run_all.sh --help"),
    ],
)
def test_a_mistake_is_one_sentence_before_any_set_up(checkout: Checkout, arguments: list[str], sentence: str) -> None:
    checkout.provision(done=False, known=True)
    done = checkout.run(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(sentence)
    assert done.stderr.count("\n") == 1
    assert checkout.called() == []


@as_root
def test_it_sets_up_once_and_passes_its_arguments_on(checkout: Checkout) -> None:
    checkout.provision(done=False, known=True)
    assert checkout.run("good", "--seed", "3", "--out=a b").returncode == 0
    assert checkout.called() == ["provision", "python -m scenarios good --seed 3 --out=a b"]
    checkout.calls.write_text("")
    checkout.provision(done=True, known=False)
    assert checkout.run("good").returncode == 0
    assert checkout.called() == ["python -m scenarios good"]


@as_root
def test_chaos_is_a_command_of_its_own(checkout: Checkout) -> None:
    assert checkout.run("chaos", "--kills", "3", "--seed=2", "--out", "a b").returncode == 0
    assert checkout.called() == ["python -m scenarios.chaos --kills 3 --seed=2 --out a b"]
    assert checkout.run("chaos", "good").returncode == 2


def test_a_soak_is_a_command_of_its_own(checkout: Checkout) -> None:
    assert checkout.run("soak", "--minutes", "3", "--seed=2", "--out", "a b").returncode == 0
    assert checkout.called() == ["python -m scenarios.soak --minutes 3 --seed=2 --out a b"]
    assert checkout.run("soak", "good").returncode == 2


@as_root
def test_a_set_up_that_fails_ends_it_with_the_set_ups_sentence(checkout: Checkout) -> None:
    checkout.provision(done=False, known=True, works=False)
    done = checkout.run("good")
    assert (done.returncode, done.stderr) == (1, "no network\n")
    assert checkout.called() == ["provision"]


@as_root
def test_the_tests_are_the_linter_the_type_checker_and_pytest(checkout: Checkout) -> None:
    assert checkout.run("test", "-k", "some thing").returncode == 0
    ruff, mypy, compiled, pytest_ = checkout.called()
    assert ruff == "python -m ruff check ."
    assert mypy == "python -m mypy"
    assert compiled.startswith("python -m compileall ")
    assert pytest_.startswith("python -m pytest ")
    assert pytest_.endswith(" -k some thing")


@as_root
@pytest.mark.parametrize(("tool", "sentence"), [("ruff", "the linter complains"), ("mypy", "the type checker complai")])
def test_a_complaint_ends_the_tests(checkout: Checkout, tool: str, sentence: str) -> None:
    checkout.stub(checkout.root / ".venv" / "bin" / "python", f'[[ $2 != {tool} ]] || exit 1; echo "$2" >>"$calls"')
    done = checkout.run("test")
    assert done.returncode == 1
    assert f"run_all.sh: {sentence}" in done.stderr
    assert "pytest" not in checkout.called()


@pytest.mark.parametrize("fault", ["other system", "unknown distribution"])
def test_a_machine_that_cannot_run_it_is_told_what_to_do(checkout: Checkout, fault: str) -> None:
    if fault == "other system":
        checkout.stub("uname", "echo Darwin")
    else:
        checkout.provision(done=False, known=False)
    done = checkout.run("good")
    assert done.returncode == 1
    assert done.stderr.startswith("run_all.sh: this needs Debian 12, Debian 13 or Ubuntu 24.04 with root or sudo, or ")
    assert done.stderr.count("\n") == 1
    assert checkout.called() == []


@as_root
def test_without_root_it_asks_sudo(checkout: Checkout) -> None:
    checkout.stub("sudo", 'echo "sudo $*" >>"$calls"')
    assert checkout.run("good", user=NOBODY).returncode == 0
    assert checkout.called() == ["sudo -n true", f"sudo -- {checkout.root}/run_all.sh good"]


@as_root
def test_a_sudo_that_cannot_ask_is_one_sentence(checkout: Checkout) -> None:
    checkout.stub("sudo", "exit 1")
    done = checkout.run("good", user=NOBODY)
    assert done.returncode == 1
    assert done.stderr == "run_all.sh: this needs root, and sudo cannot ask for the password here: run it as root\n"


class TestVagrant:
    """The way through the Vagrant machine; ssh is a shell here whose /vagrant is another directory."""

    @pytest.fixture(autouse=True)
    def machine(self, checkout: Checkout) -> None:
        checkout.stub("uname", "echo Darwin")
        self.state(checkout, "running")
        self.guest(checkout, "mkdir -p $out/good; echo new >$out/good/result.json; exit 1")

    @staticmethod
    def state(checkout: Checkout, state: str) -> None:
        checkout.stub(
            "vagrant",
            f"""echo "vagrant $*" >>"$calls"
            case $1 in status) echo 1,default,state,{state} ;; ssh-config) echo Host default ;; esac""",
        )

    @staticmethod
    def guest(checkout: Checkout, script: str) -> None:
        """What run_all.sh does in the machine, as a script; $out is its directory for results."""
        guest = checkout.root.parent / "guest"
        checkout.stub(guest / "run_all.sh", f'echo "guest $*" >>"$calls"; out=${{*: -1}}\n{script}')
        checkout.stub("sudo", '"$@"')
        checkout.stub("ssh", f'script=${{*: -1}}; bash -c "${{script//\\/vagrant/{guest}}}"')

    def test_results_come_back_and_the_status_too(self, checkout: Checkout) -> None:
        old = checkout.root / "out" / "good"
        old.mkdir(parents=True)
        (old / "result.json").write_text("old")
        (old / "picture.png").touch()
        done = checkout.run("good", "--seed", "3")
        assert done.returncode == 1
        assert [path.name for path in old.iterdir()] == ["result.json"]
        assert (old / "result.json").read_text() == "new\n"
        called = checkout.called()
        assert called[:3] == ["vagrant status --machine-readable", "vagrant rsync", "vagrant ssh-config"]
        assert called[3].startswith("guest good --seed 3 --out /var/tmp/migrate-lab-")
        assert not Path(called[3].split()[-1]).exists()

    def test_a_soak_goes_there_too(self, checkout: Checkout) -> None:
        self.guest(checkout, "mkdir -p $out/soak; echo new >$out/soak/result.json")
        assert checkout.run("--vagrant", "soak", "--minutes", "3").returncode == 0
        assert (checkout.root / "out" / "soak" / "result.json").read_text() == "new\n"
        assert checkout.called()[3].startswith("guest soak --minutes 3 --out /var/tmp/migrate-lab-")

    def test_a_machine_that_is_down_is_brought_up(self, checkout: Checkout) -> None:
        self.state(checkout, "poweroff")
        checkout.run("good")
        assert checkout.called()[:2] == ["vagrant status --machine-readable", "vagrant up"]

    def test_results_go_where_asked(self, checkout: Checkout) -> None:
        out = checkout.root.parent / "else where"
        assert checkout.run("good", "--out", str(out)).returncode == 1
        assert (out / "good" / "result.json").read_text() == "new\n"

    def test_what_no_run_has_made_is_left_alone(self, checkout: Checkout) -> None:
        thesis = checkout.root / "out" / "good" / "thesis.txt"
        thesis.parent.mkdir(parents=True)
        thesis.touch()
        done = checkout.run("good")
        assert done.returncode == 1
        assert "is not the result of a run and is left alone" in done.stderr
        assert thesis.exists()

    def test_a_run_that_left_nothing_brings_nothing_back(self, checkout: Checkout) -> None:
        self.guest(checkout, "echo run_all.sh: no good >&2; exit 2")
        done = checkout.run("good")
        assert (done.returncode, done.stderr) == (2, "run_all.sh: no good\n")
        assert not (checkout.root / "out").exists()

    def test_tests_run_there_too(self, checkout: Checkout) -> None:
        self.guest(checkout, "exit 0")
        assert checkout.run("test", "-k", "some thing").returncode == 0
        assert checkout.called()[-1] == "guest test -k some thing"

    def test_a_machine_that_does_not_start_is_one_sentence(self, checkout: Checkout) -> None:
        checkout.stub("vagrant", "echo no provider >&2; exit 1")
        done = checkout.run("good")
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1] == (
            "run_all.sh: the Vagrant machine could not be started, for the reason above"
        )

    def test_it_can_be_asked_for(self, checkout: Checkout) -> None:
        checkout.stub("uname", "echo Linux")
        checkout.run("good", "--vagrant")
        assert checkout.called()[3].startswith("guest good --out ")
