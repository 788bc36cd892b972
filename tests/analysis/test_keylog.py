"""Key logs and what is computed with them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from analysis import keylog
from analysis.keylog import KeyLogError, read_keys
from migrate.core.options import CURVE_INSECURE, MigratePermitted
from tests.analysis import made_trace as made


def test_reads_keys(tmp_path: Path) -> None:
    log = made.write_keys(tmp_path / "keys.log")
    log.write_text("# made by a test\n\n" + log.read_text())
    assert read_keys([log]) == made.KEYS
    assert read_keys([]) == {}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"P192 02ab 03cd\n", "Line 1 of the key log .* is not 'P192 PUBLIC PRIVATE'"),
        (b"\xff\xfe\n", "not plain text"),
        (None, "cannot be read"),
    ],
)
def test_unusable_key_logs(tmp_path: Path, content: bytes | None, sentence: str) -> None:
    path = tmp_path / "keys.log"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(KeyLogError, match=sentence):
        read_keys([path])


def test_either_sides_key_gives_k() -> None:
    syn, syn_ack = made.packets(made.make("mobile"), "mobile")[:2]
    assert keylog.secret(syn, syn_ack, {made.MOBILE.public: made.MOBILE.private}) == made.SECRET
    assert keylog.secret(syn, syn_ack, {made.SERVER.public: made.SERVER.private}) == made.SECRET
    assert keylog.secret(syn, syn_ack, {}) is None


def test_the_insecure_variants_k_is_known() -> None:
    syn, syn_ack = made.packets(made.make("mobile"), "mobile")[:2]
    option = MigratePermitted(CURVE_INSECURE).encode()
    insecure = (option[0], option[2:])
    pair = [replace(packet, options=(insecure,)) for packet in (syn, syn_ack)]
    assert keylog.secret(pair[0], pair[1], {}) == bytes(25)
    assert keylog.secret(pair[0], syn_ack, {}) is None


def test_a_peers_key_that_is_no_point() -> None:
    syn, syn_ack = made.packets(made.make("mobile"), "mobile")[:2]
    options = tuple((kind, b"\x02" + bytes(17) if kind == 15 else data) for kind, data in syn_ack.options)
    assert keylog.secret(syn, replace(syn_ack, options=options), made.KEYS) is None
