import os
from pathlib import Path

import pytest

from scenarios.ownership import give_back


@pytest.mark.kernel
def test_what_root_made_goes_to_the_owner_of_the_checkout(tmp_path: Path) -> None:
    made = tmp_path / "out" / "good" / "result.json"
    cache = tmp_path / "tests" / "deep" / "__pycache__" / "x.pyc"
    source = tmp_path / "tests" / "deep" / "x.py"
    for path in (made, cache, source):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    os.chown(tmp_path, 1234, 1234)
    give_back([tmp_path / "out"], root=tmp_path)
    for path in (tmp_path / "out", made, cache.parent, cache):
        assert (path.stat().st_uid, path.stat().st_gid) == (1234, 1234)
    assert source.stat().st_uid == 0


def test_a_checkout_of_ones_own_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    give_back([tmp_path / "out"], root=tmp_path)
    assert (tmp_path / "out").stat().st_uid == os.geteuid()
