"""A built part refuses what its graph could not report: token ids outside the vocabulary, other inputs and shapes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from cosybuild.directory_in_service import JOURNAL, STATE
from cosybuild.errors import ArtifactRefused, ServingError, ShapeRefused
from cosybuild.manifest import NEXT, manifest_path, write_manifest
from cosybuild.models.cosyvoice.vocoder.interface import vocoder_spec
from cosybuild.run.facts import _tensor
from cosybuild.runtime import BuiltPart, load_part
from tests.models.cosyvoice.vocoder.vocoders import published
from tests.models.frontends import front_end_subject

GRAPH = """
<ir_version: 9, opset_import: ["" : 18]>
g (int64[1, N] token, float[1, 2] embedding, float[R, 2] table) => (float[1, N, 2] y)
{
    rows = Gather(table, token)
    y = Add(rows, embedding)
}
"""
VOCABULARY = 5


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return made(tmp_path, VOCABULARY)


def made(directory: Path, vocabulary: int) -> Path:
    """Write a graph that looks up rows of a table of this size, and its manifest."""
    model = onnx.parser.parse_model(GRAPH)
    model.graph.input.pop()
    table = np.arange(2 * vocabulary, dtype=np.float32).reshape(vocabulary, 2)
    model.graph.initializer.append(onnx.numpy_helper.from_array(table, "table"))
    file = directory / "flow.frontend.fp32.onnx"
    onnx.save(model, file)
    token = {"name": "token", "shape": [1, "N"], "dtype": "int64", "range": [0, vocabulary]}
    write_manifest(file, {"verified": True, "model": {"streaming": False, "inputs": [token]}})
    return file


def call(part: BuiltPart, *tokens: int, **more: Any) -> np.ndarray[Any, Any]:
    given = {"token": np.array([tokens], np.int64), "embedding": np.zeros((1, 2), np.float32), **more}
    return part(**given)["y"]


@pytest.mark.parametrize("declared", ["float[1, N, 3]", "float[1, N]"])
def test_an_output_of_another_shape_than_the_graph_declares_is_an_error(declared: str, tmp_path: Path) -> None:
    """The shape is the value of an input, so ONNX Runtime cannot infer it when it loads the graph."""
    text = '<ir_version: 9, opset_import: ["" : 18]> g (float[1, N, 2] x, int64[R] shape) => '
    file = tmp_path / "flow.frontend.fp32.onnx"
    onnx.save(onnx.parser.parse_model(f"{text}({declared} y) {{ y = Reshape(x, shape) }}"), file)
    part = load_part(file, trust=True)
    with pytest.raises(ServingError, match=r"computed y with the shape \(1, 4, 2\); \(1, any"):
        part(x=np.zeros((1, 4, 2), np.float32), shape=np.array([1, 4, 2], np.int64))


def test_ids_of_the_vocabulary_are_looked_up(path: Path) -> None:
    part = load_part(path, threads=1)
    assert call(part, 0, 4).tolist() == [[[0, 1], [8, 9]]]
    assert call(part, 1, token=np.array([[3]], np.uint8), embedding=np.ones((1, 2))).tolist() == [[[7, 8]]]
    assert call(part, token=np.zeros((1, 0), np.int64)).shape == (1, 0, 2)


@pytest.mark.parametrize(("tokens", "place"), [((0, 5), r"token\[0, 1\] is 5"), ((-1, 9), r"token\[0, 0\] is -1")])
def test_other_ids_are_refused_with_their_place_and_the_range(tokens: tuple[int, ...], place: str, path: Path) -> None:
    with pytest.raises(ServingError, match=rf"{place}; whole numbers from 0 to 4 are expected"):
        call(load_part(path), *tokens)


def test_an_id_that_wraps_in_the_graphs_type_is_refused(path: Path) -> None:
    with pytest.raises(ServingError, match="is 18446744073709551615"):
        call(load_part(path), token=np.array([[2**64 - 1]], np.uint64))


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        ({"token": np.zeros((1, 2), np.float32)}, ServingError, "token is float32; int64 is expected"),
        ({"token": np.zeros(2, np.int64)}, ShapeRefused, r"token has the shape \(2,\); \(1, any\) is expected"),
        ({"embedding": np.zeros((1, 3), np.float32)}, ShapeRefused, r"embedding has the shape \(1, 3\)"),
        (
            {"speaker": np.zeros(1)},
            ServingError,
            "called with embedding, speaker, token; expected are token, embedding",
        ),
    ],
)
def test_other_inputs_are_refused(more: dict[str, Any], error: type[Exception], message: str, path: Path) -> None:
    with pytest.raises(error, match=message):
        call(load_part(path), 1, **more)


def test_a_file_without_manifest_needs_trust(path: Path) -> None:
    (path.parent / f"{path.name}.manifest.json").unlink()
    with pytest.raises(ArtifactRefused, match="there is no manifest"):
        load_part(path)
    assert load_part(path, trust=True).ranges == {}


@pytest.mark.parametrize("version", [1, 2, 3])
def test_the_record_of_a_vocoder_limits_no_offset(version: int) -> None:
    """The ranges of offsets and frames are those of the tests; an utterance has larger ones."""
    assert not [tensor.name for tensor in vocoder_spec(published(version)).inputs if "range" in _tensor(tensor)]


def test_the_record_of_a_front_end_has_the_size_of_its_vocabulary() -> None:
    subject = front_end_subject(2)
    ranges = {tensor.name: _tensor(tensor).get("range") for tensor in subject.spec.inputs}
    size = subject.hyperparameters["vocab_size"]
    assert ranges == {
        **{name: [0, size] for name in ("token", "prompt_token", "lookahead_token")},
        "prompt_feat": None,
        "embedding": None,
    }


def larger(directory: Path) -> Path:
    """Return a graph with a table of one row more, and its manifest."""
    directory.mkdir()
    return made(directory, VOCABULARY + 1)


@pytest.mark.attack("stale", "the range is that of the present graph")
def test_a_file_that_a_deployment_has_just_replaced_has_the_range_of_its_own_manifest(
    path: Path, tmp_path: Path
) -> None:
    new = larger(tmp_path / "new")
    new.replace(path)
    manifest_path(new).replace(path.with_name(f"{path.name}.manifest.json{NEXT}"))
    part = load_part(path)
    assert part.ranges == {"token": (0, VOCABULARY + 1)}
    assert call(part, VOCABULARY).tolist() == [[[10, 11]]]


@pytest.mark.attack("stale", "the file of the begun deployment is loaded, or none")
def test_a_begun_deployment_decides_which_file_is_loaded(path: Path, tmp_path: Path) -> None:
    staging = tmp_path / STATE / "staging-0001"
    staging.parent.mkdir()
    new = larger(staging)
    names = dict.fromkeys((new.name, manifest_path(new).name), "")
    plan = {"number": 1, "staging": staging.name, "puts": names, "removes": [], "position": 0, "files": names}
    (tmp_path / STATE / JOURNAL).write_text(json.dumps({**plan, "discards": False}))
    assert load_part(path).ranges == {"token": (0, VOCABULARY + 1)}
    (tmp_path / STATE / JOURNAL).write_text(json.dumps({**plan, "puts": {}, "removes": [path.name], "discards": False}))
    with pytest.raises(ArtifactRefused, match="a deployment has retired it"):
        load_part(path)


def test_a_run_that_onnx_runtime_ends_is_a_serving_error(tmp_path: Path) -> None:
    """Without a stated range, ONNX Runtime finds the index outside the table."""
    path = made(tmp_path, VOCABULARY)
    write_manifest(path, {"verified": True, "model": {"streaming": False}})
    part = load_part(path, threads=1)
    expected = r"ended the run of flow\.frontend\.fp32\.onnx with token \(1, 1\), embedding \(1, 2\): .*out of"
    with pytest.raises(ServingError, match=expected):
        call(part, VOCABULARY)
    assert call(part, 0).tolist() == [[[0, 1]]]
