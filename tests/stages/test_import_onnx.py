from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import numpy_helper
from onnx.external_data_helper import set_external_data

from cosybuild.config.groups.model import Family, ModelSettings, TensorSettings
from cosybuild.errors import ConfigurationError, ModelError
from cosybuild.onnxgraph.files import save_model
from cosybuild.stages.import_onnx import ImportOnnxStage
from tests.onnxgraph.graphs import linear, save_split
from tests.stages.building import Bench, Request, artifact, request


def asked(path: Path, *, name: str = "x", width: int = 4) -> Request:
    inputs, outputs = (TensorSettings(name, ("n", width)),), (TensorSettings("y", ("n", 3)),)
    return request(ModelSettings(family=Family.onnx, path=str(path), inputs=inputs, outputs=outputs), sizes={})


def test_an_existing_graph_is_copied_unchanged_and_described(tmp_path: Path) -> None:
    files = save_model(linear(), tmp_path / "mine.onnx")
    result = Bench(asked(files[0]), tmp_path).adopt(artifact("graph", files))
    (path,) = result.outputs["graph"]
    assert path.read_bytes() == files[0].read_bytes()
    assert path.name == "mine.onnx"
    assert result.metrics["opset"] == 18
    assert result.metrics["ops"] == {"MatMul": 1}


def test_external_data_is_copied_with_the_graph(tmp_path: Path) -> None:
    model = linear(weight=np.ones((4, 300), np.float32))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 300
    files = save_split(model, tmp_path / "mine.onnx")
    inputs, outputs = (TensorSettings("x", ("n", 4)),), (TensorSettings("y", ("n", 300)),)
    wide = request(ModelSettings(family=Family.onnx, path=str(files[0]), inputs=inputs, outputs=outputs), sizes={})
    result = Bench(wide, tmp_path).adopt(artifact("graph", files))
    assert [path.name for path in result.outputs["graph"]] == ["mine.onnx", "mine.onnx.data"]
    assert result.metrics["external_data"]


@pytest.mark.parametrize("content", [b"", b"no graph at all", b"\x08\x08"])
def test_a_file_that_is_no_graph_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "mine.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"mine\.onnx (is not a complete ONNX file|has no graph)") as caught:
        Bench(asked(path), tmp_path).adopt(artifact("graph", [path]))
    assert caught.value.exit_code == 3


def test_the_error_for_a_wrong_declaration_shows_the_interface_of_the_file(tmp_path: Path) -> None:
    files = save_model(linear(), tmp_path / "mine.onnx")
    with pytest.raises(ModelError, match=r"inputs are x; z are declared.*It has inputs x \(n, 4\); outputs y \(n, 3\)"):
        Bench(asked(files[0], name="z"), tmp_path / "a").adopt(artifact("graph", files))
    with pytest.raises(ModelError, match="input x has 4 on axis 1; 5 is declared"):
        Bench(asked(files[0], width=5), tmp_path / "b").adopt(artifact("graph", files))


def test_an_inconsistent_graph_is_refused(tmp_path: Path) -> None:
    model = linear()
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.ones((9, 3), np.float32), "w"))
    files = save_model(model, tmp_path / "mine.onnx")
    with pytest.raises(ModelError, match="refused by ONNX's checker at node /block/MatMul"):
        Bench(asked(files[0]), tmp_path).adopt(artifact("graph", files))


def test_the_name_of_the_artifact_follows_the_model_and_not_an_earlier_file(tmp_path: Path) -> None:
    files = save_model(linear(), tmp_path / "mine.onnx")
    named = asked(files[0])
    other = replace(named, subject=replace(named.subject, stem="other"))
    (path,) = Bench(other, tmp_path / "b").adopt(artifact("graph", files)).outputs["graph"]
    assert path.name == "other.onnx"
    assert ImportOnnxStage().settings(named) != ImportOnnxStage().settings(other), "one result must not stand for both"


def test_a_name_that_a_data_file_has_is_refused(tmp_path: Path) -> None:
    model = linear()
    (tmp_path / "w.onnx").write_bytes(model.graph.initializer[0].raw_data)
    set_external_data(model.graph.initializer[0], "w.onnx")
    model.graph.initializer[0].ClearField("raw_data")
    (tmp_path / "mine.onnx").write_bytes(model.SerializeToString())
    named = asked(tmp_path / "mine.onnx")
    named = replace(named, subject=replace(named.subject, stem="w"))
    with pytest.raises(
        ConfigurationError, match=r"cannot have the name w\.onnx, because its weight file has that name"
    ):
        Bench(named, tmp_path / "b").adopt(artifact("graph", [tmp_path / "mine.onnx", tmp_path / "w.onnx"]))
