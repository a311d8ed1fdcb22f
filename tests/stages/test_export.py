from __future__ import annotations

import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest

from cosybuild.backends import onnxruntime_backend
from cosybuild.config.groups.export import Exporter
from cosybuild.config.groups.model import TensorSettings
from cosybuild.config.groups.verify import VerifySettings
from cosybuild.errors import ExportError
from cosybuild.exporting.torch_exporters import example_sizes
from cosybuild.models.load import load_network
from cosybuild.models.subject import Subject
from cosybuild.onnxgraph.clean import module_path
from cosybuild.onnxgraph.files import load_structure
from cosybuild.onnxgraph.interface import interface_faults
from cosybuild.onnxgraph.summary import default_opset
from cosybuild.stages.export import ExportStage
from cosybuild.stages.pipeline import stages_for
from cosybuild.system.environment import Environment
from cosybuild.verification.judge import compare
from cosybuild.verification.scope import float32_limits
from tests.importing import importing
from tests.stages.building import DATA, STREAMING, TINY, Bench, full_size, module, tiny

OPSETS = (17, 18, 20, 23)
X = TensorSettings("x", ("batch", "length"))
Y = TensorSettings("y", ("batch", "length"))
TOKENS = (TensorSettings("tokens", ("batch", "length"), "int64", "integer", 0, 100),
          TensorSettings("memory", ("batch", "frames", 16)))  # fmt: skip
ENCODED = (TensorSettings("encoded", ("batch", "length", 16)), TensorSettings("pooled", ("batch", 16)))


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("family", TINY)
def test_every_opset_gives_the_golden_outputs_in_onnxruntime(family: str, opset: int, tmp_path: Path) -> None:
    result = Bench(tiny(family, opset=opset), tmp_path).export()
    (path,) = result.outputs["graph"]
    assert default_opset(load_structure(path)) == opset == result.metrics["opset"]
    _hold_to_golden(path, family, "full")


@pytest.mark.parametrize("family", STREAMING)
def test_the_streaming_variant_gives_its_own_golden_outputs(family: str, tmp_path: Path) -> None:
    (path,) = Bench(tiny(family, streaming=True), tmp_path).export().outputs["graph"]
    assert path.name == "flow.decoder.estimator.streaming.fp32.onnx"
    _hold_to_golden(path, family, "streaming")


@pytest.mark.parametrize(("family", "opset"), [("cosyvoice1", 18), ("cosyvoice2", 23), ("cosyvoice3", 20)])
def test_dynamo_gives_the_golden_outputs_too(family: str, opset: int, tmp_path: Path) -> None:
    bench = Bench(tiny(family, opset=opset, exporter=Exporter.dynamo), tmp_path)
    result = bench.export()
    (path,) = result.outputs["graph"]
    assert result.metrics["opset"] == opset
    assert (result.metrics["warnings"], bench.events) == ([], [])
    _hold_to_golden(path, family, "full")
    other = Bench(tiny(family, opset=opset), tmp_path / "torchscript")
    (its_path,) = other.export().outputs["graph"]
    assert _attending(path) == _attending(its_path), "both exporters call the modules alike"


def _attending(path: Path) -> set[str]:
    found = {module_path(node.name) for node in load_structure(path).graph.node if node.op_type == "Softmax"}
    assert found
    return found


def _hold_to_golden(path: Path, family: str, variant: str) -> None:
    golden = np.load(DATA / f"{family}_tiny" / "golden.npz")
    session = onnxruntime_backend.load(path)
    for length in (4, 16, 37, 123):
        inputs = {name: golden[f"T{length}/{name}"] for name in ("x", "mask", "mu", "t", "spks", "cond")}
        found = session.infer(inputs)["estimator_out"]
        assert compare("y", found, golden[f"T{length}/{variant}"], float32_limits(VerifySettings(), {})).fault is None


@pytest.mark.parametrize("dynamic_batch", [False, True])
@pytest.mark.parametrize("exporter", list(Exporter))
def test_the_export_writes_the_declared_interface_without_output_and_with_module_names(
    exporter: Exporter,
    dynamic_batch: bool,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One export serves three checks, because dynamo is slow."""
    bench = Bench(tiny("cosyvoice2", exporter=exporter, dynamic_batch=dynamic_batch), tmp_path)
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")
        result = bench.export()
    assert (result.metrics["warnings"], bench.events, caplog.records) == ([], [], [])
    assert capfd.readouterr() == ("", "")
    (path,) = result.outputs["graph"]
    assert ("dynamic_batch" in path.name) == dynamic_batch
    model = load_structure(path)
    assert interface_faults(model, bench.asked.subject.spec) == ()
    batch = "batch" if dynamic_batch else 2
    shapes = {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim]
              for v in (*model.graph.input, *model.graph.output)}  # fmt: skip
    assert shapes == {
        "x": [batch, 8, "seq_len"],
        "mask": [batch, 1, "seq_len"],
        "mu": [batch, 8, "seq_len"],
        "t": [batch],
        "spks": [batch, 8],
        "cond": [batch, 8, "seq_len"],
        "estimator_out": [batch, 8, "seq_len"],
    }
    _hold_to_module_names(model, bench.asked.subject)


def _hold_to_module_names(model: onnx.ModelProto, subject: Subject) -> None:
    paths = {module_path(node.name) for node in model.graph.node}
    modules = {name for name, _ in load_network(subject, subject.weights).named_modules()}
    assert {"mid_blocks.1.1.1.attn1", "mid_blocks.1.1.1.ff.net.0.proj", "down_blocks.0.0.block1"} <= paths
    # Joined projections are modules only in the export.
    assert {path for path in paths if not path.endswith(("to_qkv", "time_projection"))} <= modules
    weights = {tensor.name for tensor in model.graph.initializer}
    assert "mid_blocks.1.1.1.attn1.to_out.0.bias" in weights


@pytest.mark.parametrize("family", TINY)
def test_the_exporter_gives_no_warnings(family: str, tmp_path: Path) -> None:
    bench = Bench(tiny(family), tmp_path)
    assert (bench.export().metrics["warnings"], bench.events) == ([], [])


@pytest.mark.parametrize("exporter", list(Exporter))
def test_another_process_and_directory_give_the_same_bytes(exporter: Exporter, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.stages.building import *; "
        f"from cosybuild.config.groups.export import Exporter; "
        f"Bench(tiny('cosyvoice3', exporter=Exporter.{exporter.value}), Path(sys.argv[1])).export()"
    )
    contents = []
    for seed in ("1", "2"):
        place = tmp_path / f"a place {seed}"
        place.mkdir()
        environment = {**os.environ, "PYTHONHASHSEED": seed, **importing(DATA.parents[1])}
        subprocess.run([sys.executable, "-c", code, "out"], cwd=place, env=environment, check=True, timeout=500)
        (path,) = (place / "out" / "export").iterdir()
        contents.append(path.read_bytes())
    assert contents[0] == contents[1]
    for trace in (b"site-packages", b".py", str(tmp_path).encode(), str(DATA.parents[1]).encode()):
        assert trace not in contents[0]


def test_random_weights_depend_on_the_seed_alone(tmp_path: Path) -> None:
    settings = [ExportStage().settings(tiny("cosyvoice2")), ExportStage().settings(full_size("cosyvoice2"))]
    assert [one["weights_seed"] for one in settings] == [None, 0]


def test_a_graph_without_constant_folding_is_larger(tmp_path: Path) -> None:
    counts = [
        Bench(tiny("cosyvoice2", constant_folding=fold), tmp_path / str(fold)).export().metrics["nodes"]
        for fold in (True, False)
    ]
    assert counts[0] < counts[1]


@pytest.mark.parametrize("exporter", list(Exporter))
def test_large_weights_are_written_to_a_second_file(
    exporter: Exporter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cosybuild.onnxgraph.files.INLINE_LIMIT", 10_000)
    asked = module("Heavy", [TensorSettings("x", ("n", 64))], [TensorSettings("y", ("n", 64))], exporter=exporter)
    result = Bench(asked, tmp_path).export()
    graph, data = result.outputs["graph"]
    assert (graph.name, data.name) == ("heavy.fp32.onnx", "heavy.fp32.onnx.data")
    assert result.metrics["external_data"]
    assert graph.stat().st_size < 5000
    assert data.stat().st_size >= 4 * 64 * 64 * 4
    onnx.checker.check_model(str(graph), full_check=True)
    assert onnxruntime_backend.load(graph).infer({"x": np.ones((3, 64), np.float32)})["y"].shape == (3, 64)


@pytest.mark.parametrize("exporter", list(Exporter))
def test_a_module_with_several_dynamic_axes_is_exported(exporter: Exporter, tmp_path: Path) -> None:
    asked = module("TextEncoder", TOKENS, ENCODED, exporter=exporter)
    (path,) = Bench(asked, tmp_path).export().outputs["graph"]
    assert interface_faults(load_structure(path), asked.subject.spec) == ()
    outputs = onnxruntime_backend.load(path).infer(
        {"tokens": np.ones((3, 5), np.int64), "memory": np.ones((3, 11, 16), np.float32)}
    )
    assert [outputs[name].shape for name in ("encoded", "pooled")] == [(3, 5, 16), (3, 16)]


def test_example_sizes_differ_from_fixed_sizes_of_the_model() -> None:
    asked = module("TextEncoder", TOKENS, ENCODED)
    sizes = example_sizes(asked.subject.spec, {"length": 29}, ())
    assert sizes["length"] == 29
    assert len(set(sizes.values())) == 3
    assert not set(sizes.values()) & {16, 2}


def test_a_model_that_accepts_few_sizes_is_traced_with_one_of_them(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="example sizes"):
        Bench(module("Even", [X], [Y]), tmp_path / "a").export()
    result = Bench(module("Even", [X], [Y], example_sizes={"length": 8}), tmp_path / "b").export()
    assert result.metrics["nodes"] > 0


@pytest.mark.parametrize("exporter", list(Exporter))
@pytest.mark.parametrize("name", ["Unexportable", "Broken"])
def test_the_error_of_a_failed_export_is_one_clear_paragraph(name: str, exporter: Exporter, tmp_path: Path) -> None:
    with pytest.raises(ExportError) as caught:
        Bench(module(name, [X], [Y], exporter=exporter), tmp_path).export()
    message = caught.value.message
    assert name in message
    assert "opset 18" in message
    assert ("eig" if name == "Unexportable" else "no such speaker") in message
    assert "\n" not in message
    assert len(message) < 600
    assert "Next:" in str(caught.value)


def test_a_frozen_axis_is_detected_in_the_graph(tmp_path: Path) -> None:
    bench = Bench(module("FrozenOutput", [X], [Y]), tmp_path)
    with pytest.raises(ExportError, match="axis 1 frozen at 29"):
        bench.export()


def test_a_tracer_warning_about_the_module_of_the_user_is_passed_on(tmp_path: Path) -> None:
    bench = Bench(module("Frozen", [X], [Y]), tmp_path)
    result = bench.export()
    assert len(result.metrics["warnings"]) >= 1
    assert any("Python" in line for line in result.metrics["warnings"])
    assert [kind for kind, _ in bench.events] == ["warning"] * len(result.metrics["warnings"])


def test_dynamo_below_its_lowest_opset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"Opset 17 is requested.* wrote 18"):
        Bench(tiny("cosyvoice3", opset=17, exporter=Exporter.dynamo), tmp_path).export()


def test_the_key_has_only_settings_that_change_the_graph() -> None:
    stage = ExportStage()
    base = stage.settings(tiny("cosyvoice2"))
    for other in (
        tiny("cosyvoice2", opset=20),
        tiny("cosyvoice2", exporter=Exporter.dynamo),
        tiny("cosyvoice2", constant_folding=False),
        tiny("cosyvoice2", streaming=True),
        tiny("cosyvoice2", dynamic_batch=True),
        tiny("cosyvoice3"),
    ):
        assert stage.settings(other) != base
    same = tiny("cosyvoice2", sizes={"seq_len": (1, 2, 300)}, verify={"seed": 7})
    assert stage.settings(same) == base
    short = stage.settings(tiny("cosyvoice2", sizes={"seq_len": (1, 2, 3)}))
    assert short["example_sizes"] == {"seq_len": 3}, "the usual example is longer than the profile"


def test_the_key_has_the_sizes_by_which_the_exporter_of_a_user_module_is_chosen() -> None:
    """A graph of the torchscript exporter that is right at 23 frames can be wrong at 4, where dynamo must write it."""
    first, second = (tiny("cosyvoice2", sizes={"seq_len": (least, 24, 64)}) for least in (4, 23))
    stage = ExportStage(falls_back=True)
    assert stage.settings(first)["tried_sizes"] == {"seq_len": 4}
    assert stage.settings(second)["tried_sizes"] == {"seq_len": 23}
    assert ExportStage().settings(first) == ExportStage().settings(second)


@pytest.mark.parametrize("package", ["onnx-ir", "sympy", "numpy", "protobuf"])
def test_packages_of_the_dynamo_exporter_are_only_in_the_keys_of_its_graphs(package: str) -> None:
    machine = Environment(versions={package: "99.1"})
    requests = [tiny("cosyvoice2", exporter=exporter) for exporter in (Exporter.dynamo, Exporter.torchscript)]
    dynamo, torchscript = (stages_for(request)[0].environment(machine) for request in requests)
    assert dynamo[package] == "99.1"
    assert package not in torchscript


@pytest.mark.full_size
@pytest.mark.parametrize("family", TINY)
def test_full_size_models_are_exported(family: str, tmp_path: Path) -> None:
    result = Bench(full_size(family), tmp_path).export()
    assert result.metrics["nodes"] > 1000
    assert result.metrics["warnings"] == []
