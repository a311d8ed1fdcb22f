"""Settings that are valid on one machine only are declared `local` and removed from imported records."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest

from cosybuild.config.settings import Settings
from cosybuild.run.imported_run import local_settings, without_local

WORDS = {
    "trt_profile.name",
    "trt.precision",
    "model.name",
    "model.weights_from",
    "benchmark.provider",
}
"""Settings whose text names nothing of a machine; `model.name` must be a plain file name."""


def text_settings(cls: type, prefix: str = "") -> Iterator[str]:
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        hint = hints[field.name]
        kinds = [one for one in (hint, *typing.get_args(hint)) if isinstance(one, type)]
        inner = next((kind for kind in kinds if dataclasses.is_dataclass(kind)), None)
        if inner is not None and typing.get_origin(hint) is not tuple:
            yield from text_settings(inner, f"{prefix}{field.name}.")
        elif str in kinds and typing.get_origin(hint) not in (tuple, dict):
            yield f"{prefix}{field.name}"


def test_each_text_setting_is_declared_local_or_listed_as_portable() -> None:
    local = set(local_settings())
    assert {"model_dir", "model.path", "model.weights", "precision.calibration", "verify.lengths"} <= local
    covered = {n for n in text_settings(Settings) if any(n == one or n.startswith(f"{one}.") for one in local)}
    assert set(text_settings(Settings)) - covered <= WORDS


def test_local_settings_are_removed_from_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plain = {"model_dir": "/m", "model": {"weights": "w.pt", "seed": 3}, "verify": None, "store": {"path": "/s"}}
    kept, taken = without_local(plain)
    assert kept == {"model_dir": None, "model": {"weights": None, "seed": 3}, "verify": None, "store": None}
    assert taken == {"model_dir": "/m", "model.weights": "w.pt", "store": "..."}
    assert plain["model_dir"] == "/m"


def test_a_hub_id_is_kept_unless_a_directory_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert without_local({"model_dir": "org/model"})[0]["model_dir"] == "org/model"
    (tmp_path / "org" / "model").mkdir(parents=True)
    assert without_local({"model_dir": "org/model"})[0]["model_dir"] is None
