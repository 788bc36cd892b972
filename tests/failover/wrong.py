"""migrated with one mistake in how it takes connections over: `python -m tests.failover.wrong ARGUMENTS`, with the
mistake's name in FAULT.  What the tests of take-overs must be able to see."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace

from migrate.core import settling
from migrate.daemon import effects
from migrate.daemon.registry import Registry
from migrate.linux import newcomer
from migrate.linux.maps import Negotiated
from migrate.linux.repair import Checkpoint
from tests.linux import odd


def nothing() -> None:
    """No mistake."""


def the_numbers_before_the_silence() -> None:
    """Segment 6 says what was seen before the old pair was silent."""
    effects.Effects._as_of_now = lambda self, managed, answer: answer  # type: ignore[method-assign]


def _image(wrong: Callable[[Checkpoint], Checkpoint]) -> None:
    right = newcomer._image
    newcomer._image = lambda *arguments: wrong(right(*arguments))


def timestamps_stay_on() -> None:
    """The replica's clock is taken for that of the server."""
    _image(lambda image: replace(image, options=image.options | 1))


def one_byte_less() -> None:
    """The replica begins with the last byte that the client has."""
    _image(lambda image: replace(image, snd_una=image.snd_una - 1))


def the_old_server_is_not_told() -> None:
    """The client's old pair stays silent, as after any other move."""
    end = settling._end_handshake
    settling._end_handshake = lambda c, new, deposed: end(c, new, False)


def the_secret_is_not_kept() -> None:
    """A new daemon does not find it."""
    pack = Negotiated.pack
    Negotiated.pack = lambda self: pack(replace(self, own_key=bytes(25)))  # type: ignore[method-assign]


def what_was_here_before_hides_what_is() -> None:
    """The token of a socket that was dropped still leads to it."""
    Registry._forget_token = lambda self, pair: None  # type: ignore[method-assign]


FAULTS: dict[str, Callable[[], None]] = {
    one.__name__: one
    for one in (
        nothing,
        the_numbers_before_the_silence,
        timestamps_stay_on,
        one_byte_less,
        the_old_server_is_not_told,
        the_secret_is_not_kept,
        what_was_here_before_hides_what_is,
    )
}


def main() -> int:
    FAULTS[os.environ["FAULT"]]()
    return odd.main()


if __name__ == "__main__":
    sys.exit(main())
