"""The parts of Mininet that are used here, imported in one place.

Mininet 2.3 imports a class of `distutils`, which Python 3.12 dropped, and which before that may be all of setuptools:
a tenth of a second for each process.  Only its Open vSwitch parts use it, so a stand-in is there meanwhile.

`mininet.net`, `mininet.clean` and `mn` are never used: they set machine-wide limits and delete by name.
"""

from __future__ import annotations

import contextlib
import sys
import types
from collections.abc import Iterator


@contextlib.contextmanager
def _without_distutils() -> Iterator[None]:
    package, module = types.ModuleType("distutils"), types.ModuleType("distutils.version")
    module.StrictVersion = type("StrictVersion", (), {})  # type: ignore[attr-defined]
    stand_ins = {"distutils": package, "distutils.version": module}
    before = {name: sys.modules.get(name) for name in stand_ins}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name, was in before.items():
            if was is None:
                del sys.modules[name]
            else:
                sys.modules[name] = was


try:
    with _without_distutils():
        from mininet.link import Intf, Link
        from mininet.node import Node
        from mininet.topo import Topo
except ImportError as error:
    raise ImportError(
        f"Mininet cannot be imported by {sys.executable} ({error}): install the distribution's package `mininet` and "
        "use its Python (/usr/bin/python3, or a virtual environment made from it with --system-site-packages)"
    ) from error

__all__ = ["Intf", "Link", "Node", "Topo"]
