"""The request, sources and store of a run."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cosybuild.config.groups.model import Family, ModelSettings, TensorSettings
from cosybuild.config.groups.precision import PrecisionSettings, Target
from cosybuild.config.groups.store import StoreSettings
from cosybuild.config.groups.trt_profile import ProfileSettings, RangeSettings
from cosybuild.config.settings import Settings
from cosybuild.errors import ConfigurationError, ModelError, StoreError
from cosybuild.run.prepare import open_store, planning_store, request_from_settings, sources_of
from cosybuild.store.store import Store
from tests.onnxgraph.graphs import linear, save_split
from tests.stages.building import DATA


def settings(sizes: tuple[int, int, int] = (4, 24, 64)) -> Settings:
    return Settings(
        model_dir=str(DATA / "cosyvoice2_tiny"),
        model=ModelSettings(),
        trt_profile=ProfileSettings(profiles=({"seq_len": RangeSettings(*sizes)},)),
    )


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_request_has_the_model_and_its_weights_are_a_source(store: Store) -> None:
    request = request_from_settings(settings())
    assert request.subject.family is Family.cosyvoice2
    (source,) = sources_of(request, store).values()
    assert source.path == request.subject.weights
    assert not store.path.exists(), "planning writes nothing"


def test_a_profile_that_does_not_fit_the_model_is_refused_first() -> None:
    with pytest.raises(ConfigurationError):
        request_from_settings(settings(sizes=(24, 4, 64)))


def test_weights_beside_an_existing_graph_are_a_part_of_the_source(store: Store, tmp_path: Path) -> None:
    model = linear(weight=np.ones((4, 300), np.float32))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 300
    save_split(model, tmp_path / "mine.onnx")
    tensors = {"inputs": (TensorSettings("x", ("n", 4)),), "outputs": (TensorSettings("y", ("n", 300)),)}
    asked = Settings(model=ModelSettings(family=Family.onnx, path="mine.onnx", **tensors))
    sources = sources_of(request_from_settings(asked), store)
    assert {slot: [file.name for file in one.files] for slot, one in sources.items()} == {
        "graph": ["mine.onnx", "mine.onnx.data"]
    }
    model.graph.initializer[0].external_data[0].value = "../elsewhere"
    Path("mine.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError):
        request_from_settings(asked)


@pytest.mark.parametrize(("target", "slots"), [
    (Target.fp16, {"weights", "calibration"}), (Target.fp32, {"weights"}), (Target.tf32, {"weights"}),
])  # fmt: skip
def test_calibration_inputs_are_a_source_of_a_lowered_graph_only(
    store: Store, tmp_path: Path, target: Target, slots: set[str]
) -> None:
    np.savez(tmp_path / "one.npz", x=np.zeros(3, np.float32))
    precision = PrecisionSettings(target=target, calibration="one.npz")
    request = request_from_settings(replace(settings(), precision=precision))
    assert set(sources_of(request, store)) == slots


def test_without_a_store_results_are_in_a_temporary_store(tmp_path: Path) -> None:
    with open_store(None, pytest.fail) as store:
        assert store.path.parent.resolve() == tmp_path / "outputs"
        (store.path / "objects").mkdir()
    assert list((tmp_path / "outputs").iterdir()) == []


@pytest.mark.parametrize("chosen", [None, StoreSettings(path="somewhere")])
def test_planning_creates_no_store(tmp_path: Path, chosen: StoreSettings | None) -> None:
    assert list(planning_store(chosen, pytest.fail).entries()) == []
    assert list(tmp_path.iterdir()) == []


def test_a_shared_store_is_open_to_its_group(tmp_path: Path) -> None:
    with open_store(StoreSettings(path="team", shared=True), pytest.fail) as store:
        assert store.path.resolve() == tmp_path / "team"
    mode = (tmp_path / "team").stat().st_mode
    assert mode & stat.S_ISGID
    assert mode & stat.S_IWGRP


def test_a_store_that_cannot_be_shared_gives_a_warning(tmp_path: Path) -> None:
    (tmp_path / "team").write_text("a file")
    with (
        pytest.raises(StoreError, match="Cannot share team"),
        open_store(StoreSettings(path="team", shared=True), pytest.fail),
    ):
        pytest.fail("it is no directory")
