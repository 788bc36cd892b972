"""The options of a segment against those of a line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from analysis.capture import END_OF_OPTIONS, NOP
from analysis.diagram import model as m
from analysis.diagram.wording import KINDS, NAMES, fault
from migrate.core.options import Migrate


class Parameters(Protocol):
    """Who knows what an option's parameters should be."""

    def parameter(self, key: str, expression: m.Expression, actual: int) -> str | None:
        """What is wrong with the value of a parameter, if anything is."""


def match_options(
    wanted: m.OptionsPattern, present: tuple[tuple[int, bytes], ...], parameters: Parameters
) -> list[str]:
    """What is wrong, nothing if all is right."""
    wrong = [f"{_name(kind)} is {why}" for kind, data in present if (why := fault(kind, data))]
    if wrong:
        return wrong
    if wanted.strict:
        order = [KINDS[option.name] for option in wanted.options]
        found = [kind for kind, _ in present]
        if found[: len(order)] != order or (len(found) > len(order) and not wanted.others):
            return [f"its options are {_names(found)}, not {wanted.text}"]
    rest = [(kind, data) for kind, data in present if kind not in (NOP, END_OF_OPTIONS)]
    for option in wanted.options:
        if option.name == "nop":
            continue
        at = next((at for at, (kind, _) in enumerate(rest) if kind == KINDS[option.name]), None)
        if at is not None:
            wrong += _parameters(option, rest.pop(at)[1], parameters)
        elif not option.maybe:
            wrong.append(f"it has no option {option.name}")
    if rest and not wanted.others:
        wrong.append(f"it also has {_names([kind for kind, _ in rest])}")
    return wrong


def _parameters(option: m.OptionPattern, data: bytes, parameters: Parameters) -> Iterator[str]:
    values = {"value": int.from_bytes(data[:4], "big")}
    if option.name == "migrate-permitted":
        values["curve"] = data[0]
    elif option.name == "migrate":
        migrate = Migrate.decode(data)
        values["token"] = int.from_bytes(migrate.token, "big")
        values["request"] = int.from_bytes(migrate.request, "big")
        values["req"] = migrate.reqno
        if migrate.preload != option.preload:
            yield "it says preload" if migrate.preload else "it does not say preload"
    for key, expression in option.parameters:
        why = parameters.parameter(key, expression, values[key])
        if why:
            yield f"{option.name}: {why}" if key == "value" else why


def _name(kind: int) -> str:
    return f"the option {NAMES[kind]}" if kind in NAMES else f"option {kind}"


def _names(kinds: list[int]) -> str:
    names = ["end" if kind == END_OF_OPTIONS else NAMES.get(kind, f"option {kind}") for kind in kinds]
    return ", ".join(names) if names else "none"
