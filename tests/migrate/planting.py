"""How a fault is planted in the core: one expression of one function, replaced."""

from __future__ import annotations
import __future__

import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

Guard = Callable[[], object]


@dataclass(frozen=True)
class Fault:
    name: str
    where: Any
    right: str
    wrong: str
    guards: tuple[Guard, ...]


def with_(test: Callable[..., object], *arguments: object) -> Guard:
    return lambda: test(*arguments)


def plant(monkeypatch: pytest.MonkeyPatch, function: FunctionType, right: str, wrong: str) -> None:
    """The function's code, wherever it is referred to, with one expression replaced."""
    monkeypatch.setattr(function, "__code__", planted(function, right, wrong))


def planted(function: FunctionType, right: str, wrong: str) -> CodeType:
    """The function's code with one expression replaced."""
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(right) == 1, f"{function.__qualname__} does not say {right!r} once: bring this fault up to date"
    flags = __future__.annotations.compiler_flag
    code = compile(source.replace(right, wrong), f"<planted: {wrong}>", "exec", flags, dont_inherit=True)
    (body,) = (const for const in code.co_consts if isinstance(const, CodeType) and const.co_name == function.__name__)
    return body
