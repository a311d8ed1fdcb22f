"""All attempts, for the tests and for `scripts/attack`."""

from __future__ import annotations

from tests.attacks import executing, filling, reading

ATTEMPTS = (*executing.ATTEMPTS, *reading.ATTEMPTS, *filling.ATTEMPTS)
