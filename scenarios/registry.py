"""Which scenarios there are.

They are found by reading the sources, not by importing them: listing is quick and works before anything is set up
(run_all.sh does the same with awk), and a scenario that cannot be imported does not hide the others.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from scenarios.base import Scenario

PACKAGE = "scenarios"


class UnknownScenario(ValueError):
    """No scenario has this name; the message lists those there are."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A scenario as its source tells it."""

    name: str
    claim: str


def entries(package: str = PACKAGE) -> list[Entry]:
    """The scenarios in the modules of `package`, by name.  Raises `UnknownScenario` if there is no such package."""
    try:
        spec = importlib.util.find_spec(package)
    except ModuleNotFoundError:
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise UnknownScenario(f"there is no Python package {package} to look for scenarios in")
    directory = Path(next(iter(spec.submodule_search_locations)))
    found = [entry for path in sorted(directory.glob("*.py")) for entry in _entries(path)]
    return sorted(found, key=lambda entry: entry.name)


def load(name: str, package: str = PACKAGE) -> type[Scenario]:
    """The scenario's class, from the module of its name.  Raises `UnknownScenario`."""
    known = [entry.name for entry in entries(package)]
    if name not in known:
        raise UnknownScenario(f"unknown scenario '{name}': those there are: {', '.join(known) or 'none'}")
    module = importlib.import_module(f"{package}.{name}")
    for value in vars(module).values():
        if isinstance(value, type) and issubclass(value, Scenario) and value.__dict__.get("name") == name:
            return value
    raise UnknownScenario(f"{package}/{name}.py holds no Scenario with the name '{name}'")


def _entries(path: Path) -> list[Entry]:
    found = []
    for node in ast.parse(path.read_text(), str(path)).body:
        if isinstance(node, ast.ClassDef) and any(_called(base) == "Scenario" for base in node.bases):
            texts = dict(text for item in node.body if (text := _text(item)))
            if "name" in texts:
                found.append(Entry(texts["name"], texts.get("claim", "")))
    return found


def _called(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _text(item: ast.stmt) -> tuple[str, str] | None:
    """The name and the value of an assignment of a string literal."""
    if isinstance(item, ast.Assign) and len(item.targets) == 1:
        target, value = item.targets[0], item.value
    elif isinstance(item, ast.AnnAssign) and item.value is not None:
        target, value = item.target, item.value
    else:
        return None
    if isinstance(target, ast.Name) and isinstance(value, ast.Constant) and isinstance(value.value, str):
        return target.id, value.value
    return None
