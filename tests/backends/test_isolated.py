"""Graphs that crash ONNX Runtime, hang it, or are refused by it, and graphs that it computes."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxsim
import pytest
import torch

from cosybuild.backends import isolated, onnxruntime_backend
from cosybuild.backends.isolated import IsolatedSession, open_session, peak_of, warnings_of
from cosybuild.backends.onnxruntime_backend import Level
from cosybuild.backends.session import InferenceFailed
from cosybuild.config.groups.export import Exporter, ExportSettings
from cosybuild.config.groups.model import Family
from cosybuild.config.groups.verify import Provider
from cosybuild.errors import ExportError
from cosybuild.exporting.torch_exporters import export_graph
from cosybuild.models.spec import ModelSpec, TensorSpec
from cosybuild.models.subject import Subject
from tests.backends.graphs import endless, written
from tests.precision.graphs import checked, decided

WIDTH = 8


def decoder_layer(place: Path) -> Path:
    module = torch.nn.TransformerDecoderLayer(WIDTH, 2, 16, batch_first=True).eval()
    shape = ("batch", "frames", WIDTH)
    spec = ModelSpec((TensorSpec("tgt", shape), TensorSpec("memory", shape)), (TensorSpec("y", shape),))
    settings = ExportSettings(exporter=Exporter.dynamo)
    exported, _ = export_graph(module, spec, settings, {"batch": 2, "frames": 23})
    model = ir.from_proto(onnxsim.simplify(exported, check_n=0)[0])
    values = np.random.default_rng(0).standard_normal((2, 5, WIDTH)).astype(np.float32)
    onnx.save(
        ir.to_proto(checked(model, decided(model, {"tgt": values, "memory": values})).model), place / "layer.onnx"
    )
    return place / "layer.onnx"


def test_a_graph_that_crashes_the_optimiser_is_run_with_fewer_optimisations(tmp_path: Path) -> None:
    """In this process, ONNX Runtime 1.31 ends the test with a signal. A release without the fault needs no warning."""
    session = IsolatedSession(decoder_layer(tmp_path), Provider.cpu, 1)
    told: list[str] = []
    assert warnings_of(session, lambda kind, **facts: told.append(facts["message"])) == told
    if session.level is Level.all:
        assert told == []
    else:
        assert "cannot optimise the graph: its process was ended by SIGSEGV" in told[0]
        assert told[0].endswith("a service must open it with graph_optimization_level=ORT_ENABLE_EXTENDED")
    values = np.ones((1, 3, WIDTH), np.float16)
    (found,) = session.infer({"tgt": values, "memory": values}).values()
    assert np.isfinite(found).all()


def test_a_graph_is_computed_as_in_this_process(tmp_path: Path) -> None:
    path = written(tmp_path)
    session, plain = IsolatedSession(path, Provider.cpu, 1), onnxruntime_backend.load(path)
    values = np.float32([[1, -2], [3, 4]])
    assert np.array_equal(session.infer({"x": values})["y"], plain.infer({"x": values})["y"])
    assert np.array_equal(session.infer_in_place({"x": values.copy()}, "x"), -values)
    assert peak_of(session) > 20 << 20, "the memory of an interpreter with ONNX Runtime"
    assert peak_of(plain) == 0
    assert (session.device, session.dtypes, session.warning) == (plain.device, plain.dtypes, "")


def test_refused_inputs_and_graphs_have_the_errors_of_this_process(tmp_path: Path) -> None:
    session = IsolatedSession(written(tmp_path), Provider.cpu, 1)
    with pytest.raises(InferenceFailed, match="Expected: 2"):
        session.infer({"x": np.zeros((3, 5), np.float32)})
    assert session.infer({"x": np.ones((1, 2), np.float32)})["y"].shape == (1, 2)
    with pytest.raises(ExportError, match=r"does not load graph\.onnx"):
        IsolatedSession(written(tmp_path, "NoSuchOperator"), Provider.cpu, 1)


def test_a_crash_during_a_call_is_a_failed_inference(tmp_path: Path) -> None:
    """The subprocess is killed during a call that would never end; later calls fail too."""
    session = IsolatedSession(endless(tmp_path), Provider.cpu, 1)
    process = session._remote._process
    threading.Timer(0.5, process.send_signal, (signal.SIGSEGV,)).start()
    for _ in range(2):
        with pytest.raises(InferenceFailed, match="it crashed: its process was ended by SIGSEGV"):
            session.infer({"x": np.zeros(1, np.float32)})


def test_a_load_that_never_ends_at_any_level_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit of a millisecond, which no load keeps, stands for a graph that hangs."""
    monkeypatch.setattr(isolated, "_SECONDS", 0.001)
    with pytest.raises(ExportError, match=r"it did not end within 0\.001") as caught:
        IsolatedSession(written(tmp_path), Provider.cpu, 1)
    assert "Next: export with another opset or exporter" in str(caught.value)


def test_only_models_of_users_are_run_in_a_subprocess(tmp_path: Path) -> None:
    spec = ModelSpec((TensorSpec("x", ("n", 2)),), (TensorSpec("y", ("n", 2)),))
    kinds = {family: type(open_session(written(tmp_path), Subject(family, spec, {}))) for family in Family}
    own = {family for family, kind in kinds.items() if kind is IsolatedSession}
    assert own == {Family.module, Family.onnx}
