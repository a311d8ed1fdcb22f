"""Exported graphs have each property of the contract, and a fault is reported by the property that it breaks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from cosybuild.backends.onnxruntime_backend import load
from cosybuild.config.groups.model import TensorSettings
from cosybuild.config.groups.precision import InputOutput, Target
from cosybuild.errors import VerificationError
from cosybuild.models.load import load_module
from cosybuild.models.spec import ModelSpec, TensorSpec
from cosybuild.onnxgraph.files import load_model, save_model
from cosybuild.request import Request
from cosybuild.verification.properties import LEAST_CHANGE, MOST_CHANGE, MOST_CHANGE_RESIZED, PROPERTIES
from cosybuild.verification.property_checks import Examined, check_contract, with_dtype
from tests.precision.estimators import estimator_spec, exported
from tests.stages.building import STREAMING, TINY, Bench, graph_of, module, tiny
from tests.stages.lowering import lower, verify
from tests.stages.lowering import request as lowering_request

VARIANTS = [*((family, False) for family in TINY), *((family, True) for family in STREAMING)]


def held(asked: Request, path: Path, spec: ModelSpec | None = None) -> dict[str, Any]:
    spec, session = spec or asked.subject.spec, load(path)
    profiles = asked.profiles
    examined = Examined(path, spec, session, spec, session.infer_in_place, "float32")
    return check_contract(examined, asked.subject, profiles, seed=0, emit=lambda kind, **facts: None)


@pytest.mark.parametrize("dynamic_batch", [False, True])
@pytest.mark.parametrize(("family", "streaming"), VARIANTS)
def test_every_property_holds_for_exported_graphs(
    family: str, streaming: bool, dynamic_batch: bool, tmp_path: Path
) -> None:
    asked = tiny(family, streaming=streaming, dynamic_batch=dynamic_batch)
    bench = Bench(asked, tmp_path)
    record = held(asked, graph_of(bench.simplify(graph_of(bench.export()))).path)
    tried = {finding["property"] for finding in record["properties"]}
    left_out = {*(() if dynamic_batch else ("batch_size",)), *(() if streaming else ("future_chunks",))}
    assert set(record["not_tried"]) == left_out
    unstated = set() if asked.subject.spec.norms else {"norms"}
    assert tried == set(PROPERTIES) - left_out - unstated
    for finding in record["properties"]:
        assert finding["holds"]
        if finding["must_change"]:
            assert finding["value"] > 1e4 * LEAST_CHANGE, "ten times tighter, with room"
        else:
            assert finding["bound"] == bound_of(finding["property"], "float32")


def bound_of(name: str, computed_in: str) -> float:
    if name in ("interface", "norms", "axes", "finite"):
        return 0.0
    return (MOST_CHANGE_RESIZED if name == "batch_size" else MOST_CHANGE)[computed_in]


class Faulty(nn.Module):
    """An estimator whose inputs and outputs are changed."""

    def __init__(self, inner: nn.Module, before: Callable[..., tuple[Tensor, ...]], after: Callable[..., Tensor]):
        super().__init__()
        self.estimator = inner
        self.before, self.after = before, after

    def forward(self, x: Tensor, mask: Tensor, mu: Tensor, t: Tensor, spks: Tensor, cond: Tensor) -> Tensor:
        given = (x, mask, mu, t, spks, cond)
        result: Tensor = self.after(self.estimator(*self.before(*given)), *given)
        return result


def same(*given: Tensor) -> tuple[Tensor, ...]:
    return given


def kept(velocity: Tensor, *given: Tensor) -> Tensor:
    return velocity


def _row_zero_speaks(x: Tensor, mask: Tensor, mu: Tensor, t: Tensor, spks: Tensor, cond: Tensor) -> tuple[Tensor, ...]:
    return x, mask, mu, t, spks[:1].expand(spks.shape[0], -1), cond


def _no_mask(x: Tensor, mask: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    return x, torch.clamp(mask + 1.0, max=1.0), *others


def _no_speaker(x: Tensor, mask: Tensor, mu: Tensor, t: Tensor, spks: Tensor, cond: Tensor) -> tuple[Tensor, ...]:
    return x, mask, mu, t, spks.clamp(min=0.0, max=0.0), cond


def _row_bias(velocity: Tensor, *given: Tensor) -> Tensor:
    return velocity + torch.tensor([0.0, 1e-3]).reshape(2, 1, 1)


def _mean_of_rows(velocity: Tensor, x: Tensor, *given: Tensor) -> Tensor:
    return velocity + 1e-3 * x.mean(dim=0, keepdim=True)


def _of_all_frames(velocity: Tensor, x: Tensor, *given: Tensor) -> Tensor:
    return velocity + 1e-3 * x.mean(dim=2, keepdim=True)


def _by_batch(velocity: Tensor, x: Tensor, *given: Tensor) -> Tensor:
    rows = torch.ones_like(x[:, :1, :1]).sum(dim=0, keepdim=True)
    return velocity * (1.0 + 1e-3 * rows)


def _trimmed(velocity: Tensor, x: Tensor, *given: Tensor) -> Tensor:
    return velocity[:, :, : len(x[0, 0].tolist())]


def _own_rows(velocity: Tensor, x: Tensor, *given: Tensor) -> Tensor:
    return velocity[: len(x.tolist())]


def _overflowing(velocity: Tensor, *given: Tensor) -> Tensor:
    return velocity * 3e38 * 10.0


FAULTS: dict[str, tuple[str, bool, Callable[..., tuple[Tensor, ...]], Callable[..., Tensor]]] = {
    "the conditional row's speaker in both": ("zero_row", False, _row_zero_speaks, kept),
    "a mean over the batch": ("independent_rows", False, same, _mean_of_rows),
    "a bias of one row": ("row_order", False, same, _row_bias),
    "a factor of the batch": ("batch_size", True, same, _by_batch),
    "a mean over all frames": ("masked_frames", False, same, _of_all_frames),
    "a mask that is not looked at": ("mask_used", False, _no_mask, kept),
    "a speaker that is not looked at": ("inputs_used", False, _no_speaker, kept),
    "a frozen length": ("axes", False, same, _trimmed),
    "a frozen batch": ("axes", True, same, _own_rows),
    "an overflow": ("finite", False, same, _overflowing),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_reported_by_its_property(fault: str, tmp_path: Path) -> None:
    name, dynamic_batch, before, after = FAULTS[fault]
    asked = tiny("cosyvoice2", dynamic_batch=dynamic_batch)
    graph = _exported_with(asked, tmp_path, lambda inner: Faulty(inner, before, after))
    with pytest.raises(VerificationError, match=rf"property {name} \(") as caught:
        held(asked, graph)
    assert caught.value.exit_code == 5
    assert "Next:" in str(caught.value)


@pytest.mark.parametrize("family", STREAMING)
@pytest.mark.parametrize(
    ("chunk", "failing"), [(20, "future_chunks"), (11, "future_chunks"), (9, "attention_span"), (5, "attention_span")]
)
def test_chunks_of_another_length_are_refused(family: str, chunk: int, failing: str, tmp_path: Path) -> None:
    """The fixtures' chunks have 10 frames; one frame more or less is found."""
    asked = tiny(family, streaming=True)

    def other(inner: nn.Module) -> nn.Module:
        inner.estimator.chunk = chunk  # type: ignore[union-attr,assignment]
        return inner

    with pytest.raises(VerificationError, match=rf"property {failing} \("):
        held(asked, _exported_with(asked, tmp_path, other))


@pytest.mark.parametrize("family", STREAMING)
def test_a_graph_with_full_attention_is_refused_as_a_streaming_graph(family: str, tmp_path: Path) -> None:
    full = tiny(family)
    graph = Bench(full, tmp_path).export().outputs["graph"][0]
    with pytest.raises(VerificationError, match=r"property future_chunks \(.*frames 10\.\.15 exchanged"):
        held(tiny(family, streaming=True), graph)


@pytest.mark.parametrize("family", STREAMING)
def test_a_graph_with_chunks_is_refused_as_full_attention(family: str, tmp_path: Path) -> None:
    graph = Bench(tiny(family, streaming=True), tmp_path).export().outputs["graph"][0]
    with pytest.raises(VerificationError, match=r"property attention_span \("):
        held(tiny(family), graph)


def test_an_output_that_overwrites_an_input_still_in_use_is_refused(tmp_path: Path) -> None:
    asked = tiny("cosyvoice2")
    spec = asked.subject.spec
    node = helper.make_node("AveragePool", ["x"], ["estimator_out"], kernel_shape=[3], pads=[1, 1])
    path = _graph(tmp_path, [node], spec)
    with pytest.raises(VerificationError, match=r"property in_place \(.*the output bound to x's memory"):
        held(asked, path)


def _order(model: onnx.ModelProto) -> None:
    model.graph.input.append(model.graph.input[0])
    del model.graph.input[0]


def _name(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Identity", ["estimator_out"], ["velocity"]))
    model.graph.output[0].name = "velocity"


def _freeze(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 24


def _thaw(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "rows"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_order, "inputs are mask, mu, t, spks, cond, x; x, mask"),
        (_name, "outputs are velocity; estimator_out are declared"),
        (_freeze, "input x has axis 2 frozen at 24"),
        (_thaw, "input x has axis 0 dynamic; 2 is declared"),
    ],
)
def test_another_interface_than_the_declared_one_is_refused(
    spoil: Callable[[onnx.ModelProto], None], words: str, tmp_path: Path
) -> None:
    asked = tiny("cosyvoice2")
    model = load_model(Bench(asked, tmp_path).export().outputs["graph"][0])
    spoil(model)
    (path,) = save_model(model, tmp_path / "spoiled.onnx")
    with pytest.raises(VerificationError, match=rf"property interface \(.*{words}"):
        held(asked, path)


def test_other_types_than_the_declared_ones_are_refused(tmp_path: Path) -> None:
    asked = tiny("cosyvoice2")
    path = Bench(asked, tmp_path).export().outputs["graph"][0]
    with pytest.raises(VerificationError, match=r"property interface \(.*input x is FLOAT; float16 is declared"):
        held(asked, path, with_dtype(asked.subject.spec, "float16"))


def test_other_models_have_only_the_properties_of_the_interface(tmp_path: Path) -> None:
    x, y = TensorSettings("x", ("batch", "length")), TensorSettings("y", ("batch", "length"))
    asked = module("Even", [x], [y], sizes={"batch": (1, 2, 4), "length": (24, 24, 24)}, example_sizes={"length": 24})
    record = held(asked, Bench(asked, tmp_path).export().outputs["graph"][0])
    assert [finding["property"] for finding in record["properties"]] == ["interface", "axes"]
    assert set(record["not_tried"]) == set(PROPERTIES) - {"interface", "axes", "norms"}


def test_a_profile_that_ends_in_the_first_chunk_is_reported(tmp_path: Path) -> None:
    asked = tiny("cosyvoice2", streaming=True, sizes={"seq_len": (4, 8, 10)})
    record = held(asked, Bench(asked, tmp_path).export().outputs["graph"][0])
    assert record["not_tried"]["future_chunks"] == "the profile ends within the first chunk"


SPEC = estimator_spec()


@pytest.mark.parametrize("io", list(InputOutput))
@pytest.mark.parametrize("target", [Target.fp16, Target.bf16, Target.mixed])
@pytest.mark.parametrize("family", TINY)
def test_every_property_holds_for_lowered_graphs(family: str, target: Target, io: InputOutput, tmp_path: Path) -> None:
    graph = exported(family, tmp_path / "graph.onnx")
    asked = lowering_request(SPEC, target=target, io=io)
    lowered = lower(asked, graph, tmp_path / "lowered").outputs["lowered"][0]
    contract = verify(asked, graph, lowered, tmp_path / "verified").metrics["contract"]
    assert ("in_place" in contract["not_tried"]) == (target is Target.bf16)
    computed_in = "bfloat16" if target is Target.bf16 else "float16"
    for finding in contract["properties"]:
        assert finding["holds"]
        if finding["must_change"]:
            assert finding["value"] > 100 * LEAST_CHANGE
        else:
            assert finding["bound"] == bound_of(finding["property"], computed_in)


def test_a_lowered_graph_of_the_wrong_type_fails(tmp_path: Path) -> None:
    graph = exported("cosyvoice2", tmp_path / "graph.onnx")
    kept_io = lower(lowering_request(SPEC, target=Target.fp16, io=InputOutput.keep), graph, tmp_path / "lowered")
    asked = lowering_request(SPEC, target=Target.fp16)
    with pytest.raises(VerificationError, match=r"property interface \(.*input x is FLOAT; float16 is declared"):
        verify(asked, graph, kept_io.outputs["lowered"][0], tmp_path / "verified")


def test_a_lowered_graph_in_which_a_row_leaks_fails(tmp_path: Path) -> None:
    """Each row gets 0.002 of the mean over the batch, which the comparison of values does not find."""
    graph = exported("cosyvoice2", tmp_path / "graph.onnx")
    asked = lowering_request(SPEC, target=Target.fp16)
    lowered = lower(asked, graph, tmp_path / "lowered").outputs["lowered"][0]
    model = load_model(lowered)
    factor = helper.make_tensor("leak", TensorProto.FLOAT16, [1], np.float16([0.002]).tobytes(), raw=True)
    axis = helper.make_tensor("rows", TensorProto.INT64, [1], [0])
    model.graph.initializer.extend([factor, axis])
    for node in model.graph.node:
        node.output[:] = ["clean" if name == "estimator_out" else name for name in node.output]
    model.graph.node.extend(
        [
            helper.make_node("ReduceMean", ["x", "rows"], ["mean"], keepdims=1),
            helper.make_node("Mul", ["mean", "leak"], ["small"]),
            helper.make_node("Add", ["clean", "small"], ["estimator_out"]),
        ]
    )
    (path,) = save_model(model, tmp_path / "leaking.onnx")
    assert ir.load(str(path)).graph.inputs[0].dtype is ir.DataType.FLOAT16
    with pytest.raises(VerificationError, match=r"property independent_rows \("):
        verify(asked, graph, path, tmp_path / "verified")


def _exported_with(asked: Request, directory: Path, spoil: Callable[[nn.Module], nn.Module]) -> Path:
    """Export a faulty module with the export stage."""
    with patch("cosybuild.models.load.load_module", lambda *given: spoil(load_module(*given)).eval()):
        path: Path = Bench(asked, directory).export().outputs["graph"][0]
    return path


def _graph(directory: Path, nodes: list[onnx.NodeProto], spec: ModelSpec) -> Path:
    def values(tensors: tuple[TensorSpec, ...]) -> list[onnx.ValueInfoProto]:
        return [helper.make_tensor_value_info(t.name, TensorProto.FLOAT, list(t.shape)) for t in tensors]

    graph = helper.make_graph(nodes, "g", values(spec.inputs), values(spec.outputs))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return save_model(model, directory / "graph.onnx")[0]
