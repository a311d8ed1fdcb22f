"""precision=auto finds the planted faults in few evaluations; its answer is minimal and can be committed as YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import yaml
from omegaconf import OmegaConf

from cosybuild.config.groups.precision import Method, Target
from cosybuild.config.parse import settings_from_plain
from cosybuild.errors import PrecisionError, VerificationError
from cosybuild.models.spec import ModelSpec, TensorSpec
from cosybuild.precision.bisection import evaluation_bound
from cosybuild.stages.precision import PrecisionStage
from cosybuild.store.result import StageResult
from tests.precision.estimators import estimator, estimator_spec, export, exported
from tests.stages.lowering import lower, request, verify
from tests.stages.planting import coarse, overflowing

SPEC = estimator_spec()
EARLY, MIDDLE, LATE = (f"{name}/attn1/to_qkv" for name in ("down_blocks.0/1.0", "mid_blocks.1/1.0", "up_blocks.0/1.1"))
# The rules would find the planted faults, so here they find only phases.
UNGUARDED = {"data_max": 1e30, "init_min": 0.0, "target": Target.fp16}
SIZES = (4, 12, 20)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported("cosyvoice2", tmp_path_factory.mktemp("clean") / "graph.onnx")


def asked(**precision: Any) -> Any:
    return request(SPEC, sizes=SIZES, **{**UNGUARDED, **precision})


def searched(graph: Path, workdir: Path, **precision: Any) -> StageResult:
    return lower(asked(method=Method.search, **precision), graph, workdir)


def passes(graph: Path, workdir: Path, **precision: Any) -> bool:
    """Return True if the graph of the rules with `keep_fp32` passes its gates."""
    settings = asked(**precision)
    try:
        verify(settings, graph, lower(settings, graph, workdir / "lowered").outputs["lowered"][0], workdir)
    except VerificationError:
        return False
    return True


def ratio(graph: Path, workdir: Path) -> float:
    """Return the smallest signal-to-noise ratio, in dB, of the graph that is lowered by the rules."""
    settings = asked(snr_db=5.0)
    lowered = lower(settings, graph, workdir / "lowered").outputs["lowered"][0]
    return float(verify(settings, graph, lowered, workdir).metrics["worst"]["snr_db"])


def nodes(result: StageResult) -> list[str]:
    return [node["node"] for node in result.metrics["search"]["nodes"]]


def check_minimal(result: StageResult, graph: Path, workdir: Path, **precision: Any) -> None:
    """Check that the set passes, and that no proper subset passes."""
    found = nodes(result)
    assert result.metrics["search"]["minimal"]
    assert result.metrics["search"]["evaluations"] < evaluation_bound(result.metrics["search"]["candidates"])
    assert passes(graph, workdir / "all", keep_fp32=tuple(found), **precision)
    for node in found:
        assert not passes(graph, workdir / "less", keep_fp32=tuple(n for n in found if n != node), **precision)


def test_one_overflowing_layer_is_found(clean: Path, tmp_path: Path) -> None:
    graph = overflowing(clean, tmp_path / "graph.onnx", MIDDLE)
    assert not passes(graph, tmp_path / "rules")
    result = searched(graph, tmp_path / "work")
    assert nodes(result) == [f"/{MIDDLE}/planted/up", f"/{MIDDLE}/planted/down"]
    found = result.metrics["search"]
    assert found["nodes"][0] == {
        "node": f"/{MIDDLE}/planted/up",
        "op": "Mul",
        "module": "mid_blocks.1.1.0.attn1.to_qkv.planted",
    }
    assert found["cost"] == {"flops_share": 0.0, "casts": 2, "nodes": 2}
    assert "planted/up" in found["failed"][0]["missed"]
    check_minimal(result, graph, tmp_path)


def test_one_of_two_layers_that_fail_only_together_is_returned(clean: Path, tmp_path: Path) -> None:
    offsets = {EARLY: 32.0, LATE: 48.0}
    alone = []
    for module, offset in offsets.items():
        graph = coarse(clean, tmp_path / "alone.onnx", {module: offset})
        alone.append(ratio(graph, tmp_path / "alone"))
    graph = coarse(clean, tmp_path / "graph.onnx", offsets)
    together = ratio(graph, tmp_path / "together")
    assert together < min(alone) - 0.5
    between = (together + min(alone)) / 2
    result = searched(graph, tmp_path / "work", snr_db=between)
    assert nodes(result)
    check_minimal(result, graph, tmp_path, snr_db=between)


def test_two_layers_that_must_both_return_are_found(clean: Path, tmp_path: Path) -> None:
    graph = overflowing(clean, tmp_path / "one.onnx", EARLY)
    graph = overflowing(graph, tmp_path / "graph.onnx", LATE)
    result = searched(graph, tmp_path / "work")
    # Nodes between two fp32 nodes are kept too, so /MODULE/MatMul and down are equivalent to up and down.
    kept = {node["node"] for group in result.metrics["kept_fp32"] for node in group["nodes"]}
    assert {f"/{module}/planted/{part}" for module in (EARLY, LATE) for part in ("up", "down")} <= kept
    assert {node.rpartition("/planted")[0] or node.rpartition("/")[0] for node in nodes(result)} == {
        f"/{EARLY}",
        f"/{LATE}",
    }
    assert result.metrics["search"]["evaluations"] < 2 * evaluation_bound(result.metrics["search"]["candidates"])


def test_a_graph_that_passes_costs_one_evaluation(clean: Path, tmp_path: Path) -> None:
    result = searched(clean, tmp_path / "work")
    found = result.metrics["search"]
    assert (found["evaluations"], found["nodes"], found["failed"]) == (1, [], [])
    assert yaml.safe_load(result.outputs["precision"][0].read_text())["keep_fp32"] == []
    plain = lower(asked(), clean, tmp_path / "plain")
    assert plain.outputs["lowered"][0].read_bytes() == result.outputs["lowered"][0].read_bytes()


def test_the_result_is_an_option_that_gives_the_same_graph(clean: Path, tmp_path: Path) -> None:
    graph = overflowing(clean, tmp_path / "graph.onnx", MIDDLE)
    result = searched(graph, tmp_path / "work", keep_fp32=("time_mlp",))
    text = result.outputs["precision"][0].read_text()
    assert "# Mul of mid_blocks.1.1.0.attn1.to_qkv.planted" in text
    # Read as by Hydra: in YAML 1.1 1e+30 is text, for OmegaConf it is a number.
    given = OmegaConf.to_container(OmegaConf.create(text))
    option = settings_from_plain({"precision": given}).precision
    assert option.method is Method.rules
    assert option.keep_fp32[0] == "time_mlp"
    committed = lower(asked(keep_fp32=option.keep_fp32), graph, tmp_path / "committed")
    assert committed.outputs["lowered"][0].read_bytes() == result.outputs["lowered"][0].read_bytes()


def test_the_error_names_an_interface_that_cannot_represent_the_output(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 9, opset_import: ["": 18]> g (float[n] x) => (float[n] y) { y = Mul(x, c) }'
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(6e4), "c"))
    model.graph.node[0].name = "/Mul"
    onnx.save(model, tmp_path / "graph.onnx")
    spec = ModelSpec((TensorSpec("x", ("n",)),), (TensorSpec("y", ("n",)),))
    with pytest.raises(PrecisionError, match="The graph fails even with every node in fp32") as caught:
        lower(request(spec, sizes=SIZES, method=Method.search, **UNGUARDED), tmp_path / "graph.onnx", tmp_path / "work")
    assert "precision.io=keep" in str(caught.value.hint)


def test_the_gates_are_only_in_the_key_of_a_search() -> None:
    stage = PrecisionStage(Method.search)
    strict, loose = (stage.settings(asked(method=Method.search, snr_db=snr)) for snr in (60.0, 30.0))
    assert strict != loose
    rules = PrecisionStage(Method.rules)
    assert rules.settings(asked(snr_db=60.0)) == rules.settings(asked(snr_db=30.0))
    assert (stage.makes, rules.makes) == (("lowered", "precision"), ("lowered",))


@pytest.mark.full_size
def test_an_overflow_in_a_full_size_model_is_found(tmp_path: Path) -> None:
    clean = export(estimator("cosyvoice2", full=True), tmp_path / "clean.onnx")
    graph = overflowing(clean, tmp_path / "graph.onnx", "mid_blocks.7/1.2/attn1/to_qkv")
    result = searched(graph, tmp_path / "work")
    assert set(nodes(result)) == {f"/mid_blocks.7/1.2/attn1/to_qkv/planted/{part}" for part in ("up", "down")}
    assert result.metrics["search"]["evaluations"] < evaluation_bound(len(ir.load(str(graph)).graph))
