from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("mininet", reason="needs the distribution's mininet")


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_mininet_can_be_imported_where_python_has_no_distutils() -> None:
    """As from 3.12 on, without setuptools."""
    done = python(
        "import importlib.util, sys\n"
        "sys.meta_path = [f for f in sys.meta_path if 'distutils' not in type(f).__module__.lower()]\n"
        "found = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'distutils' else found(name, *rest)\n"
        "import topologies.mininet_api as api\n"
        "assert 'distutils' not in sys.modules, 'the stand-in is not for others'\n"
        "print(api.Node.__module__)\n"
    )
    assert (done.returncode, done.stdout) == (0, "mininet.node\n"), done.stderr


def test_without_mininet_the_error_says_what_to_do() -> None:
    done = python("import sys; sys.modules['mininet.link'] = None; import topologies.mininet_api")
    assert done.returncode == 1
    assert "install the distribution's package `mininet`" in done.stderr


def test_the_parts_that_touch_the_whole_machine_are_not_imported() -> None:
    done = python("import sys, topologies.mobility; print([m for m in sys.modules if m.startswith('mininet.')])")
    assert done.returncode == 0, done.stderr
    for module in ("mininet.clean", "mininet.net", "mininet.cli"):
        assert module not in done.stdout


def test_no_process_pays_for_setuptools() -> None:
    done = python("import sys, topologies.network; print({m for m in sys.modules if m in ('distutils', 'setuptools')})")
    assert (done.returncode, done.stdout) == (0, "set()\n"), done.stderr
