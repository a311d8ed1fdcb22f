"""Tests of the scripts, which import each other by name."""

from __future__ import annotations

import pytest

from tests.docs.pages import ROOT


@pytest.fixture(autouse=True)
def _scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts")
