"""The list of thorough tests names tests that exist."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.thorough import THOROUGH


@pytest.mark.parametrize("beginning", THOROUGH)
def test_a_thorough_test_exists(beginning: str) -> None:
    path, _, name = beginning.partition("::")
    text = (Path(__file__).parents[1] / path).read_text(encoding="utf-8")
    assert f"def {name}(" in text if name else "def test_" in text
