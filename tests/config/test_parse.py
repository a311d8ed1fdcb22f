"""Paths in the settings: `~` is the home directory, as in a shell."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.config.composing import settings_of


def test_a_tilde_is_the_home_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    words = ("store.path='~/store'", "deploy=cosyvoice", "deploy.dir='~/model'", "hold_to='~/cosybuild.lock'")
    settings = settings_of(*words)
    assert settings.store is not None
    assert settings.deploy is not None
    found = (settings.store.path, settings.deploy.dir, settings.hold_to)
    assert found == tuple(str(tmp_path / name) for name in ("store", "model", "cosybuild.lock"))
    assert settings_of("store.path='a/~/b'").store.path == "a/~/b"  # type: ignore[union-attr]  # there is a store
