"""The same examples in every run, so that a red test is red again; MIGRATE_EXAMPLES=5000 asks for as many new ones."""

from __future__ import annotations

import os

from hypothesis import settings

wanted = os.environ.get("MIGRATE_EXAMPLES")
settings.register_profile("migrate", deadline=None, derandomize=True)
settings.register_profile("migrate-long", deadline=None, max_examples=int(wanted or 100))
settings.load_profile("migrate-long" if wanted else "migrate")
