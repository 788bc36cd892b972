"""The README and the page on diagrams name only what is there: files, commands, options, examples that load."""

from __future__ import annotations

import functools
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from analysis import diagram, stream
from analysis.__main__ import main
from scenarios import registry, result
from tests.analysis import made_trace as made

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
LANGUAGE = ROOT / "analysis/diagram/language.md"
PAGES = [README, LANGUAGE]

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
PLACES = ("analysis/", "benchmarks/", "docs/", "migrate/", "scenarios/", "tests/", "topologies/", "vagrant/")
TO_BE_WRITTEN = {"scenarios/twice.py"}  # by the reader
COMMAND = re.compile(r"(\./run_all\.sh|python -m \w[\w.]*|\b(?:migrated|migratectl) --\w)[^`\n|;&#]*")


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return [text for kind, text in FENCE.findall(page.read_text()) if kind == language]


def commands(page: Path) -> list[str]:
    """Every call of run_all.sh, of a module, of migrated and migratectl in a page, up to its arguments' end."""
    return [match[0].strip() for match in COMMAND.finditer(page.read_text())]


@functools.cache
def help_of(*command: str) -> str:
    """What a command says to --help."""
    done = subprocess.run([*command, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def help_for(words: list[str]) -> str:
    """The help that covers these words, that of the subcommand included."""
    if words[0] == "./run_all.sh":
        return help_of("./run_all.sh")
    module = {"migrated": "migrate.migrated", "migratectl": "migrate.migratectl"}.get(words[0]) or words[2]
    rest = words[1:] if words[0] != "python" else words[3:]
    said = help_of(sys.executable, "-m", module)
    subcommand = next((word for word in rest if re.search(rf"^ {{4}}{re.escape(word)} ", said, re.M)), None)
    return said + (help_of(sys.executable, "-m", module, subcommand) if subcommand else "")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    targets = re.findall(r"\]\(([^)]+)\)", text)
    assert targets
    headings = {re.sub(r"[^\w -]", "", line.lstrip("# ")).lower().replace(" ", "-") for line in text.splitlines()}
    for target in targets:
        if target.startswith("#"):
            assert target[1:] in headings, f"there is no heading {target}"
        elif "://" not in target:
            assert (page.parent / target).exists(), f"there is no {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_exist(page: Path) -> None:
    words = set(re.findall(r"(?<![\w./-])[\w.-]+/[\w./-]*\w", page.read_text()))
    named = {word for word in words if word.startswith(PLACES)} - TO_BE_WRITTEN
    assert not [path for path in named if not (ROOT / path).exists()]


def test_pages_that_the_code_names_exist() -> None:
    pages = {page.name for page in PAGES}
    code = [
        path for folder in PLACES for path in (ROOT / folder).rglob("*") if path.suffix in {".py", ".c", ".h", ".sh"}
    ]
    assert len(code) > 400
    assert not [
        (path.name, word) for path in code for word in re.findall(r"\b\w+\.md\b", path.read_text()) if word not in pages
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_are_known(page: Path) -> None:
    found = commands(page)
    assert found
    for command in found:
        words = shlex.split(command.replace("…", ""), comments=True)
        words = words[: words.index("--")] if "--" in words else words
        if words[:2] == ["python", "-m"] and words[2].split(".")[0] not in {
            "analysis",
            "benchmarks",
            "migrate",
            "topologies",
        }:
            continue  # somebody else's module
        for option in [word.split("=")[0] for word in words if word.startswith("--") and word != "--help"]:
            assert re.search(rf"(?<![\w-]){option}(?![\w-])", help_for(words)), f"{command}: no option {option}"


def test_options_that_stand_alone_are_known() -> None:
    everything = help_of("./run_all.sh")
    for command in ("check", "draw", "ladder"):
        everything += help_of(sys.executable, "-m", "analysis", command)
    for module in ("migrate.migrated", "migrate.migratectl"):
        everything += help_of(sys.executable, "-m", module)
    alone = set(re.findall(r"`(--[\w-]+)", README.read_text()))
    assert {"--profile", "--keylog"} <= alone
    assert not [option for option in alone if not re.search(rf"(?<![\w-]){option}(?![\w-])", everything)]


def test_scenarios_are_known() -> None:
    known = {entry.name for entry in registry.entries()} | {"twice", "test", "soak", "chaos"}
    named = [command.split()[1] for command in commands(README) if re.match(r"\./run_all\.sh \w", command)]
    assert "mobility" in named
    assert set(named) <= known


def test_the_fields_of_a_result_are_all_named() -> None:
    text = README.read_text()
    paragraph = text[text.index("each `result.json` the numbers") :].split("\n\n")[0]
    named = set(re.findall(r"`(\w+)`", paragraph))
    assert named == {*result._KEYS, *result._CHECK_KEYS, *result._REPORTED_KEYS}


def test_the_example_scenario_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (source,) = blocks(README, "python")
    package = tmp_path / "readme_scenarios"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "twice.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    assert registry.load("twice", "readme_scenarios").claim == "A download survives two moves"
    assert len([line for line in source.splitlines() if line.strip()]) <= 34
    lint = [sys.executable, "-m", "mypy", "--no-incremental", str(package / "twice.py")]
    done = subprocess.run(lint, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_example_diagram_holds_for_a_correct_trace() -> None:
    (text,) = blocks(LANGUAGE, "diagram")
    keys = {made.MOBILE.public: made.MOBILE.private}
    (seen,) = stream.join(made.packets(made.make("mobile"), "mobile"), keys)
    verdict = diagram.check(diagram.parse(text), seen)
    assert verdict.mismatch is None
    assert verdict.tokens is diagram.Tokens.VERIFIED


def test_every_word_of_the_language_is_on_its_page() -> None:
    grammar = (LANGUAGE.parent / "grammar.lark").read_text()
    words = set(re.findall(r'"([a-z]{2,})"', grammar))
    for terminal in ("OPTION", "PARAM", "FIELD", "FUNCTION", "UNIT"):
        (alternatives,) = re.findall(rf"^{terminal}\.2: /\(([^)]*)\)", grammar, re.M)
        words |= set(alternatives.split("|"))
    assert {"meanwhile", "snd_una", "wscale", "rtt"} <= words
    text = LANGUAGE.read_text()
    assert not [word for word in sorted(words) if not re.search(rf"(?<![\w-]){word}(?![\w-])", text)]


def test_what_the_pages_show_is_of_one_run() -> None:
    """The checker's failure in both pages is the text that it prints, line for line but for names of that run."""
    shown = [block for page in PAGES for block in blocks(page, "") if "FAIL  mobility.diagram" in block]
    assert len(shown) == 2
    assert len({block.split("\n", 1)[1] for block in shown}) == 1


def test_the_failure_shown_is_what_the_checker_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = made.make("mobile", made.Setting(total=20))
    packets = [
        row.packet(number, "mobile") for number, row in enumerate(rows, 1) if made.NEW4 not in (row.src, row.dst)
    ]
    monkeypatch.setattr("analysis.capture.read", lambda path, vantage: packets)
    assert main(["check", "mobility", "loc1.pcap"]) == 1
    said = capsys.readouterr().out.splitlines()[1:]
    (shown,) = (block for block in blocks(README, "") if "FAIL  mobility.diagram" in block)
    assert [line for line in said if line not in shown.splitlines()] == []


def test_pictures_are_small() -> None:
    pictures = list((ROOT / "docs/pictures").iterdir())
    assert [one.name for one in pictures if one.stat().st_size > 150_000] == []
    assert all(one.name in README.read_text() for one in pictures)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_path_of_one_machine(page: Path) -> None:
    assert not re.findall(r"(?<![\w.])/(?:home|root|tmp|work|Users|var/tmp)\b\S*", page.read_text())
