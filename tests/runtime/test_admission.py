"""Refusals by the manifest, and the refusals that `trust` overrides."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from cosybuild.errors import ArtifactRefused, MissingRequirement, ServingError
from cosybuild.manifest import manifest_path, seal_of, write_manifest
from cosybuild.runtime import load_estimator
from cosybuild.runtime.admission import admit
from tests.runtime.tiny import certify, inputs

CPU = torch.device("cpu")
BUILT_FOR = {
    "flavour": "tensorrt_rtx",
    "version": "1.2.3",
    "sm": 89,
    "hardware_compatibility": "none",
    "version_compatible": False,
}


@pytest.fixture
def graph(tmp_path: Path, graphs: dict[str, Path]) -> Path:
    """Return a copy of a graph with its manifest, which a test may change."""
    return certify(Path(shutil.copy(graphs["cosyvoice2"], tmp_path / "estimator.onnx")))


def _engine(path: Path, **built_for: Any) -> Path:
    path.write_bytes(b"vtrt" + bytes(200))
    write_manifest(path, {"verified": True, "model": {"streaming": False}, "built_for": {**BUILT_FOR, **built_for}})
    return path


@pytest.mark.attack("forge", "the artifact is refused")
def test_an_artifact_without_a_manifest_is_refused(graph: Path) -> None:
    manifest_path(graph).unlink()
    with pytest.raises(ArtifactRefused, match=r"no manifest estimator\.onnx\.manifest\.json") as caught:
        load_estimator(graph)
    assert "trust=True" in str(caught.value.hint)


def test_trust_accepts_an_artifact_without_a_manifest(graph: Path) -> None:
    manifest_path(graph).unlink()
    assert load_estimator(graph, trust=True)(**inputs(9)).shape == (2, 8, 9)


def test_without_a_manifest_the_name_gives_the_variant(tmp_path: Path, graphs: dict[str, Path]) -> None:
    path = Path(shutil.copy(graphs["streaming"], tmp_path / "flow.decoder.estimator.streaming.fp32.onnx"))
    assert admit(path, CPU, trust=True).streaming


@pytest.mark.attack("forge", "the artifact is refused")
def test_a_changed_byte_is_refused_even_with_trust(graph: Path) -> None:
    content = bytearray(graph.read_bytes())
    content[len(content) // 2] ^= 1
    graph.write_bytes(content)
    with pytest.raises(ArtifactRefused, match="replaced or damaged"):
        load_estimator(graph, trust=True)


@pytest.mark.attack("forge", "the artifact is refused")
@pytest.mark.parametrize("keep", [0, 1000])
def test_a_file_that_was_truncated_is_refused(graph: Path, keep: int) -> None:
    graph.write_bytes(graph.read_bytes()[:keep])
    with pytest.raises(ArtifactRefused, match="empty" if keep == 0 else "1000 bytes but"):
        load_estimator(graph, trust=True)


@pytest.mark.attack("forge", "the artifact is refused")
@pytest.mark.parametrize(("verified", "words"), [(False, "failed its verification"), (None, "was not verified")])
def test_an_artifact_that_was_not_verified_needs_trust(graph: Path, verified: bool | None, words: str) -> None:
    certify(graph, verified=verified, deployment={"forced": ["not verified"]})
    with pytest.raises(ArtifactRefused, match=rf"{words} and was deployed by force \(not verified\)"):
        load_estimator(graph)
    load_estimator(graph, trust=True)


@pytest.mark.attack("forge", "the artifact is refused")
@pytest.mark.parametrize("text", ["{", "[]", '{"format": "other"}', '{"format": "cosybuild.artifact", "version": 99}'])
def test_a_manifest_that_cannot_be_read_is_refused(graph: Path, text: str) -> None:
    manifest_path(graph).write_text(text)
    with pytest.raises(ArtifactRefused, match=r"not JSON|not a manifest|reads version"):
        load_estimator(graph, trust=True)


def test_one_of_two_manifests_fits_while_a_deployment_replaces_the_file(graph: Path) -> None:
    coming = manifest_path(graph).with_name(manifest_path(graph).name + ".next")
    shutil.copy(manifest_path(graph), coming)
    old = json.loads(coming.read_text())
    old["file"]["sha256"] = "0" * 64
    old["seal"] = seal_of(old)
    manifest_path(graph).write_text(json.dumps(old))
    load_estimator(graph)


def test_external_data_is_compared_with_the_manifest_too(graph: Path) -> None:
    data = graph.with_name("estimator.onnx.data")
    data.write_bytes(b"weights")
    write_manifest(graph, {"verified": True, "model": {"streaming": False}}, companions=[data])
    load_estimator(graph)
    data.write_bytes(b"Weights")
    with pytest.raises(ArtifactRefused, match=r"estimator\.onnx\.data is not the file"):
        load_estimator(graph)


def test_a_manifest_that_does_not_state_the_attention_is_refused(graph: Path) -> None:
    write_manifest(graph, {"verified": True})
    with pytest.raises(ArtifactRefused, match=r"does not name its attention variant"):
        load_estimator(graph, trust=True)


def with_weights_beside(graph: Path, folder: Path, *, seed: int) -> Path:
    """Store the weights of the graph in a second file, as in graphs above 2 GB."""
    folder.mkdir()
    model = onnx.load(str(graph))
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and seed:
            values = onnx.numpy_helper.to_array(tensor)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values + np.float32(seed), tensor.name))
    path = folder / graph.name
    onnx.save(model, str(path), save_as_external_data=True, location=f"{graph.name}.data", size_threshold=0)
    write_manifest(
        path, {"verified": True, "model": {"streaming": False}}, companions=[path.with_name(f"{path.name}.data")]
    )
    return path


@pytest.mark.attack("forge", "the artifact is refused")
@pytest.mark.parametrize("spoil", ["swapped", "truncated", "stale", "missing"])
@pytest.mark.parametrize("trust", [False, True])
def test_other_weights_beside_a_graph_are_refused_before_it_is_loaded(
    tmp_path: Path, graph: Path, spoil: str, trust: bool
) -> None:
    mine, other = (with_weights_beside(graph, tmp_path / name, seed=seed) for name, seed in (("a", 0), ("b", 1)))
    load_estimator(mine)
    data = mine.with_name(f"{mine.name}.data")
    if spoil == "swapped":
        shutil.copy(other.with_name(data.name), data)
    elif spoil == "truncated":
        os.truncate(data, data.stat().st_size - 4)
    elif spoil == "stale":
        shutil.copy(other, mine)
        shutil.copy(manifest_path(other), manifest_path(mine))
    else:
        data.unlink()
    with pytest.raises(ArtifactRefused, match=r"estimator\.onnx\.data (is not the file|has \d+ bytes|is missing)"):
        load_estimator(mine, trust=trust)


@pytest.mark.attack("forge", "the artifact is refused")
@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("estimator.onnx.data", "which is not among its files"),
        ("../estimator.onnx.data", "expected is a file in the directory of the graph"),
        ("/etc/passwd", "expected is a file in the directory of the graph"),
        ("a/../../x", "expected is a file in the directory of the graph"),
        ("link", "expected is a file in the directory of the graph"),
    ],
)
def test_weights_that_no_manifest_lists_are_refused(tmp_path: Path, graph: Path, location: str, words: str) -> None:
    path = with_weights_beside(graph, tmp_path / "a", seed=0)
    (path.parent / "link").symlink_to(graph)
    model = onnx.load(str(path), load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            entry.value = location if entry.key == "location" else entry.value
    path.write_bytes(model.SerializeToString())
    certify(path)
    with pytest.raises(ArtifactRefused, match=words):
        load_estimator(path)


def test_an_engine_is_refused_with_both_sides_and_every_reason(tmp_path: Path) -> None:
    with pytest.raises(ArtifactRefused) as caught:
        admit(_engine(tmp_path / "estimator.plan"), CPU, trust=True)
    assert "built for sm_89, TensorRT-RTX 1.2.3; here no GPU" in caught.value.message


def test_an_engine_needs_a_gpu(tmp_path: Path) -> None:
    with pytest.raises(ArtifactRefused, match="an engine runs on a GPU"):
        load_estimator(_engine(tmp_path / "estimator.plan"))


def test_a_graph_that_is_no_estimator_is_refused(tmp_path: Path) -> None:
    from onnx import TensorProto, helper, save

    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 80]) for name in ("feats", "embedding")]
    body = helper.make_graph([helper.make_node("Relu", ["feats"], ["embedding"])], "g", ports[:1], ports[1:])
    save(helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), tmp_path / "other.onnx")
    with pytest.raises(ArtifactRefused, match="is not an estimator: it has feats, embedding"):
        load_estimator(certify(tmp_path / "other.onnx"))


def test_the_error_for_a_directory_without_an_estimator_names_every_candidate_and_its_reason(
    tmp_path: Path, graph: Path
) -> None:
    shutil.copy(graph, tmp_path / "bare.onnx")
    graph.write_bytes(b"")
    with pytest.raises(ArtifactRefused, match=r"(?s)bare\.onnx is refused: there is no manifest.*it is empty"):
        load_estimator(tmp_path)


def test_an_absent_precision_is_refused(tmp_path: Path, graph: Path) -> None:
    with pytest.raises(ArtifactRefused, match=r"estimator\.onnx is float32"):
        load_estimator(tmp_path, precision="float16")


def test_an_absent_device_is_refused(graph: Path) -> None:
    with pytest.raises(MissingRequirement, match="device=meta"):
        load_estimator(graph, "meta")


def test_a_concurrency_of_zero_is_refused(graph: Path) -> None:
    with pytest.raises(ServingError, match="concurrency=0"):
        load_estimator(graph, concurrency=0)
