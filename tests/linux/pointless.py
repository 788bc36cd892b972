"""migrated whose public keys are no points of the curve: `python -m tests.linux.pointless ARGUMENTS`."""

import os
import sys
from dataclasses import replace

from migrate import migrated
from migrate.core import BadKey, KeyPair, shared_secret
from migrate.linux.keyring import Keyring


def pointless() -> KeyPair:
    true = generate()
    while True:
        public = b"\x02" + os.urandom(24)
        try:
            shared_secret(true.private, public)
        except BadKey:
            return replace(true, public=public)


def rotating(keyring: Keyring) -> bool:
    KeyPair.generate = pointless  # type: ignore[method-assign]
    return rotate(keyring)


if __name__ == "__main__":
    generate, rotate = KeyPair.generate, Keyring.rotate
    Keyring.rotate = rotating  # type: ignore[method-assign,assignment]
    sys.exit(migrated.main())
