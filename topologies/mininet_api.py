"""The parts of Mininet that are used here, imported in one place.

`mininet.net`, `mininet.clean` and `mn` are never used: they set machine-wide limits and delete by name.
"""

from __future__ import annotations

import importlib.util
import sys
import types


def _stand_in_for_distutils() -> None:
    """Mininet 2.3 imports a class of `distutils`, which Python 3.12 dropped; only its Open vSwitch parts use it."""
    package, module = types.ModuleType("distutils"), types.ModuleType("distutils.version")
    module.StrictVersion = type("StrictVersion", (), {})  # type: ignore[attr-defined]
    sys.modules.update({"distutils": package, "distutils.version": module})


if importlib.util.find_spec("distutils") is None:
    _stand_in_for_distutils()

try:
    from mininet.link import Intf, Link
    from mininet.node import Node
    from mininet.topo import Topo
except ImportError as error:
    raise ImportError(
        f"Mininet cannot be imported by {sys.executable} ({error}): install the distribution's package `mininet` and "
        "use its Python (/usr/bin/python3, or a virtual environment made from it with --system-site-packages)"
    ) from error

__all__ = ["Intf", "Link", "Node", "Topo"]
