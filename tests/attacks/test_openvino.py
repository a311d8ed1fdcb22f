"""OpenVINO IRs with manifests that fit their content, but not what cosybuild converts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.external_data_helper import convert_model_to_external_data

from cosybuild.cli.check import main as check
from cosybuild.errors import ArtifactRefused, ServingError, VerificationError
from cosybuild.manifest import manifest_path, write_manifest
from cosybuild.runtime import load_estimator, load_part
from tests.backends.openvino.making import SHAPES, certify, make_ir
from tests.runtime import tiny

openvino = pytest.importorskip("openvino")

REPORT = {"version": openvino.__version__, "precision": "fp32"}


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_graph(tmp_path_factory.mktemp("graph") / "g.onnx")


def save(place: Path, compute: Callable[[Any, Any], Any]) -> Path:
    """Write an IR with the ports of an estimator and a manifest that fits it."""
    ops = openvino.opset6
    ports = {}
    for name, shape in SHAPES.items():
        ports[name] = ops.parameter([-1 if isinstance(size, str) else size for size in shape], np.float32, name=name)
        ports[name].output(0).get_tensor().set_names({name})
    value, *sinks = compute(ops, ports["x"])
    value.output(0).get_tensor().set_names({"estimator_out"})
    model = openvino.Model([ops.result(value)], sinks, list(ports.values()), "m")
    path = place / "m.fp32.openvino.xml"
    openvino.save_model(model, str(path), compress_to_fp16=False)
    return certify(path, REPORT)


@pytest.mark.attack("forge", "the file is refused, because no digest covers the external data that OpenVINO would read")
def test_an_onnx_file_with_the_name_of_an_ir_is_refused(graph: Path, tmp_path: Path) -> None:
    model = onnx.load(graph)
    convert_model_to_external_data(model, location="weights.data", size_threshold=0)
    onnx.save(model, tmp_path / "m.onnx")
    path = (tmp_path / "m.onnx").rename(tmp_path / "m.fp32.openvino.xml")
    path.with_suffix(".bin").write_bytes(b"0")
    certify(path, REPORT)
    for load in (load_estimator, load_part):
        with pytest.raises(ArtifactRefused, match="is not an OpenVINO IR"):
            load(path)
    assert check([str(tmp_path)]) == VerificationError.exit_code


@pytest.mark.attack("forge", "the call is an error, and no uninitialized memory is returned")
@pytest.mark.parametrize(
    "compute",
    [
        pytest.param(lambda ops, x: [ops.concat([x, x], 2)], id="longer"),
        pytest.param(lambda ops, x: [ops.concat([x, x], 1)], id="more channels"),
        pytest.param(lambda ops, x: [ops.reduce_sum(x, np.array([2]), keep_dims=True)], id="one frame"),
    ],
)
def test_an_ir_whose_output_has_another_shape_is_an_error(compute: Callable[[Any, Any], Any], tmp_path: Path) -> None:
    estimator = load_estimator(save(tmp_path, compute))
    with pytest.raises(ServingError, match=r"computed estimator_out with the shape .*; \(2, 8, 9\) is expected"):
        estimator(**tiny.inputs(9))


@pytest.mark.attack("stale", "the file is refused, because a result would depend on the calls before it")
def test_an_ir_that_keeps_values_between_calls_is_refused(tmp_path: Path) -> None:
    def counts(ops: Any, x: Any) -> list[Any]:
        more = ops.add(ops.read_value(ops.constant(np.zeros(1, np.float32)), "calls"), np.ones(1, np.float32))
        return [ops.add(x, more), ops.assign(more, "calls")]

    path = save(tmp_path, counts)
    for load in (load_estimator, load_part):
        with pytest.raises(ArtifactRefused, match="has 1 variables, which keep values"):
            load(path)


@pytest.mark.attack("malformed", "the IR is refused, and the message names the invalid size")
@pytest.mark.parametrize(
    "profiles",
    [
        "[]",
        "[null]",
        "[7]",
        '["seq_len"]',
        "[{}]",
        '[{"seq_len": null}]',
        '[{"seq_len": []}]',
        '[{"seq_len": "abc"}]',
        '[{"seq_len": ["a", "b", "c"]}]',
        '[{"seq_len": [4, 24, [64]]}]',
        '[{"seq_len": [4, 24, "inf"]}]',
        '[{"seq_len": [4, 24, 64.5]}]',
        '[{"seq_len": [true, true, true]}]',
        '[{"seq_len": [64, 24, 4]}]',
        '[{"seq_len": {"0": 4, "1": 24, "2": 64}}]',
    ],
)
def test_an_ir_whose_manifest_has_invalid_profiles_is_refused(profiles: str, graph: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.fp32.openvino.xml"
    certify(path, make_ir(graph, path))
    facts = json.loads(manifest_path(path).read_text(encoding="utf-8"))
    write_manifest(path, {**facts, "profiles": json.loads(profiles)}, [path.with_suffix(".bin")])
    for place in (path, tmp_path):
        with pytest.raises(ArtifactRefused, match="does not state the profiles of its inputs"):
            load_estimator(place)
