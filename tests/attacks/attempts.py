"""All attempts, for the tests and for `scripts/attack`."""

from __future__ import annotations

from tests.attacks import executing

ATTEMPTS = (*executing.ATTEMPTS,)
