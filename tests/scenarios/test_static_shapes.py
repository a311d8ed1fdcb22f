"""Graphs with static shapes, and solver runs of a distilled flow."""

from __future__ import annotations

import onnx

from tests.scenarios.commands import QUICK, Place
from tests.scenarios.rebuilding import make_small_model


def test_a_graph_with_static_shapes_is_built_verified_and_named(place: Place) -> None:
    make_small_model(place.directory / "model")
    place.cosybuild(*QUICK, "export.static={seq_len: 20, batch: 1}")
    assert place.report()["verified"] is True
    (path,) = (place.directory / "outputs" / "runs").glob("*/artifacts/*.onnx")
    assert path.name == "flow.decoder.estimator.batch1.seq_len20.fp32.onnx"
    graph = onnx.load(path).graph
    for tensor in (*graph.input, *graph.output):
        dims = tensor.type.tensor_type.shape.dim
        assert all(dim.HasField("dim_value") for dim in dims), tensor.name
        assert dims[0].dim_value == 1


def test_a_fixed_length_alone_is_built_and_verified(place: Place) -> None:
    make_small_model(place.directory / "model")
    place.cosybuild(*QUICK, "simplify=none", "export.static={seq_len: 20}")
    assert place.report()["verified"] is True


def test_a_distilled_flow_is_verified_with_its_steps(place: Place) -> None:
    make_small_model(place.directory / "model")
    place.cosybuild("model_dir=model", "trt=none", "simplify=none", QUICK[-1], "verify.solver.steps=4")
    (verify,) = (step for step in place.report()["steps"] if step["label"] == "verify")
    (run,) = verify["metrics"]["solver"]
    assert len(run["steps_snr_db"]) == 4
