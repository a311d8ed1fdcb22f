"""Fixtures: exported parts of tiny voices."""

from __future__ import annotations

from tests.runtime.voice.conftest import services  # noqa: F401  # pytest finds the fixture by this name
