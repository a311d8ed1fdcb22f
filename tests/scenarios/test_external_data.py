"""An existing ONNX file with external data, as onnx.save_model writes it, and the names of that data's file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.onnxgraph.graphs import linear
from tests.scenarios.commands import Answer

SERVICE = ("deploy.dir=service", "deploy.create=true")
WORDS = (
    *("model=onnx", "model.path=mine.onnx", "trt=none"),
    *("model.inputs=[{name: x, shape: [n, 4]}]", "model.outputs=[{name: y, shape: [n, 300]}]"),
    "trt_profile.profiles=[{n: {min: 1, opt: 2, max: 3}}]",
)
NODES = [
    onnx.helper.make_node("MatMul", ["x", "w"], ["z"]),
    onnx.helper.make_node("Identity", ["z"], ["z2"]),
    onnx.helper.make_node("Relu", ["z2"], ["y"]),
]


@pytest.fixture
def mine(command: Callable[..., Answer]) -> Callable[..., Answer]:
    """Return a runner of commands in a directory with mine.onnx and weights.bin."""
    model = linear(NODES, np.random.default_rng(0).standard_normal((4, 300)).astype(np.float32))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 300
    onnx.save_model(model, "mine.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    return command


@pytest.mark.parametrize("simplify", ["none", "onnxsim"])
def test_the_weights_of_a_graph_follow_it_to_every_place(mine: Callable[..., Answer], simplify: str) -> None:
    words = (*WORDS, f"simplify={simplify}", "deploy=bundle", *SERVICE)
    answer = mine(*words)
    assert answer.code == 0, answer.err
    (run,) = Path("outputs/runs").iterdir()
    weight = onnx.numpy_helper.to_array(onnx.load("mine.onnx").graph.initializer[0])
    manifests = [*run.glob("artifacts/*.manifest.json"), *Path("service").glob("*.manifest.json")]
    assert len(manifests) == 2
    for manifest in manifests:
        facts = json.loads(manifest.read_text(encoding="utf-8"))
        assert [fact["name"] for fact in facts["companions"]] == (["weights.bin"] if simplify == "none" else [])
        graph = onnx.load(str(manifest)[: -len(".manifest.json")])
        (found,) = (onnx.numpy_helper.to_array(tensor) for tensor in graph.graph.initializer)
        assert np.array_equal(found, weight)
    assert mine("check", "service").code == 0
    assert mine("bundle", str(run), "--into", "run.tar.gz").code == 0
    shipped = sorted(path.name for path in run.glob("artifacts/*"))
    run.rename("aside")
    Path("outputs/store").rename("store-aside")
    assert mine("import", "run.tar.gz").code == 0
    (imported,) = Path("outputs/runs").iterdir()
    assert sorted(path.name for path in imported.glob("artifacts/*")) == shipped


def test_a_graph_in_the_cache_of_a_hub_is_read_through_its_links(mine: Callable[..., Answer]) -> None:
    snapshot, blobs = Path("cache/models--acme--x/snapshots/1"), Path("cache/models--acme--x/blobs")
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, name in enumerate(("mine.onnx", "weights.bin")):
        Path(name).rename(blobs / str(number))
        (snapshot / name).symlink_to(f"../../blobs/{number}")
    words = [f"model.path={snapshot}/mine.onnx" if word.startswith("model.path") else word for word in WORDS]
    answer = mine(*words)
    assert answer.code == 0, answer.err
    (artifact,) = Path("outputs/runs").glob("*/artifacts/*.onnx")
    assert onnx.numpy_helper.to_array(onnx.load(artifact).graph.initializer[0]).shape == (4, 300)


def test_data_files_that_do_not_fit_are_refused_before_anything_runs(mine: Callable[..., Answer]) -> None:
    content = Path("weights.bin").read_bytes()
    Path("weights.bin").write_bytes(content[:-4])
    mine(*WORDS).says(
        3, "model error: mine.onnx has the tensor 'w' at bytes 0 to 4800 of a file that ends at byte 4796"
    )
    assert not Path("outputs").exists()


def test_two_names_of_one_file_become_two_models_in_a_triton_repository(mine: Callable[..., Answer]) -> None:
    quick = (
        *WORDS,
        "verify=off",
        "simplify=none",
        "deploy=triton",
        *SERVICE,
        "deploy.force=true",
    )
    for name in ("one", "net.fp4"):
        answer = mine(*quick, f"model.name={name}")
        assert answer.code == 0, answer.err
    assert sorted(path.name for path in Path("outputs/runs").glob("*/artifacts/*.onnx")) == ["net.fp4.onnx", "one.onnx"]
    assert sorted(path.parent.name for path in Path("service").glob("*/config.pbtxt")) == ["net_fp4", "one"]
    assert all((Path("service") / name / "1/weights.bin").is_file() for name in ("net_fp4", "one"))
