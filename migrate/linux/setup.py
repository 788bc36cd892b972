"""What keeps a daemon from being set up."""

from __future__ import annotations


class SetupError(Exception):
    """migrated cannot begin to serve this host; one sentence that says why and what to do."""
