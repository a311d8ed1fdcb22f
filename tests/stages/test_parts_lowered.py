"""Lowered vocoders and front ends of the tiny directories: right ones pass their gates, and planted faults fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from cosybuild.config.groups.component import ComponentName
from cosybuild.config.groups.model import Family, ModelSettings
from cosybuild.config.groups.precision import Method, PrecisionSettings, Target
from cosybuild.errors import VerificationError
from cosybuild.models.cosyvoice.vocoder.interface import FLOAT32_MODULES
from cosybuild.models.resolve import resolve_subject
from cosybuild.numerics.gates import OF_KIND_LOWERED
from cosybuild.numerics.metrics import Kind
from cosybuild.precision import decide, lower, rules
from cosybuild.precision.rules import RuleInputs, Verdicts
from cosybuild.request import Request
from cosybuild.store.result import StageResult
from tests.models.fixtures import DATA, VERSIONS
from tests.stages.building import Bench, graph_of, request
from tests.stages.lowering import lower as lower_graph
from tests.stages.lowering import verify as verify_lowered

VOCODER, FRONT_END = ComponentName.vocoder, ComponentName.frontend
SIZES = {"seq_len": (4, 12, 24)}
NARROW: dict[str, Any] = {
    "base_channels": 16,
    "f0_channels": 8,
    "resblock_kernel_sizes": [3],
    "resblock_dilation_sizes": [[1, 3]],
}
TARGETS = (Target.fp16, Target.bf16, Target.mixed)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[ComponentName, int], tuple[Request, Path]]:
    """Give the request and the simplified float32 graph of a tiny directory, made once."""
    made: dict[tuple[ComponentName, int], tuple[Request, Path]] = {}

    def of(component: ComponentName, version: int) -> tuple[Request, Path]:
        if (component, version) not in made:
            directory = DATA / f"token2wav{version}_tiny"
            subject = resolve_subject(ModelSettings(), str(directory), False, component)
            asked = Request(request(ModelSettings(), directory, sizes=SIZES).settings, subject)
            bench = Bench(asked, tmp_path_factory.mktemp("bench"))
            made[component, version] = asked, graph_of(bench.simplify(graph_of(bench.export()))).path
        return made[component, version]

    return of


def lowered_to(asked: Request, graph: Path, workdir: Path, **precision: Any) -> tuple[Request, StageResult]:
    settings = replace(asked.settings, precision=PrecisionSettings(**precision))
    wanted = Request(settings, asked.subject)
    return wanted, lower_graph(wanted, graph, workdir / "lower")


def held(asked: Request, graph: Path, lowered: StageResult, workdir: Path) -> StageResult:
    return verify_lowered(asked, graph, lowered.outputs["lowered"][0], workdir / "verify")


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.value)
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("component", [VOCODER, FRONT_END], ids=lambda component: component.value)
def test_a_right_build_passes(
    component: ComponentName, version: int, target: Target, exported: Any, tmp_path: Path
) -> None:
    asked, graph = exported(component, version)
    wanted, result = lowered_to(asked, graph, tmp_path, target=target)
    verified = held(wanted, graph, result, tmp_path)
    assert verified.metrics["cases"]
    assert result.metrics["flops_lowered"] > 0.9 or component is VOCODER
    model = onnx.load(result.outputs["lowered"][0])
    kinds = {tensor.data_type for tensor in model.graph.initializer}
    assert {onnx.TensorProto.BFLOAT16 if target is Target.bf16 else onnx.TensorProto.FLOAT16} <= kinds
    if component is VOCODER:
        reasons = {group["reason"]: {n["module"].split(".")[0] for n in group["nodes"]}
                   for group in result.metrics["kept_fp32"]}  # fmt: skip
        for pattern, reason in FLOAT32_MODULES.items():
            assert pattern.rstrip("*") in reasons[reason]
        floats = {value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)}
        assert floats == {onnx.TensorProto.FLOAT, onnx.TensorProto.INT64}, "the state keeps its digits"


def nothing(*_: Any) -> Verdicts:
    return iter(())


def forget_f0(patch: pytest.MonkeyPatch, asked: Request) -> Request:
    """No rule keeps f0 and the source."""
    for module, name in ((decide, "running_sums"), (rules, "phases"), (rules, "integers"), (rules, "statistics")):
        patch.setattr(module, name, nothing)
    return Request(asked.settings, replace(asked.subject, spec=replace(asked.subject.spec, float32_modules={})))


def forget_f0_predictor(patch: pytest.MonkeyPatch, asked: Request) -> Request:
    """The rules keep the source, but not the predictor."""

    def sums(view: RuleInputs) -> Iterator[tuple[Any, str]]:
        return ((node, "a sum") for node in view.nodes if "/m_source/" in node.name)

    patch.setattr(decide, "running_sums", sums)
    kept = {name: reason for name, reason in FLOAT32_MODULES.items() if not name.startswith("f0")}
    return Request(asked.settings, replace(asked.subject, spec=replace(asked.subject.spec, float32_modules=kept)))


def coarse_weights(patch: pytest.MonkeyPatch, asked: Request) -> Request:
    """The conversion of weights drops six further bits of fp16, and five of bf16."""
    right = lower.convert_constant

    def converted(tensor: Any, storage: Any, name: str, limit: float | None = None) -> Any:
        found = right(tensor, storage, name, limit)
        if tensor.size < 2 or "FLOAT" not in str(found.dtype):
            return found
        bits = np.ascontiguousarray(found.numpy()).view(np.uint16)
        mask = np.uint16(0xFFC0 if storage.name == "FLOAT16" else 0xFFE0)
        return type(found)((bits & mask).view(found.numpy().dtype), dtype=found.dtype, name=name)

    patch.setattr(lower, "convert_constant", converted)
    return asked


FAULTS: dict[str, tuple[Callable[[pytest.MonkeyPatch, Request], Request], ComponentName, int, Target, str]] = {
    "the predictor of f0 in fp16": (forget_f0_predictor, VOCODER, 3, Target.fp16, "f0_cents"),
    "the predictor of f0 in bf16": (forget_f0_predictor, VOCODER, 1, Target.bf16, "f0_cents"),
    "f0 and source in fp16": (forget_f0, VOCODER, 2, Target.fp16, "snr_db"),
    "bits of the weights lost, vocoder": (coarse_weights, VOCODER, 1, Target.fp16, "snr_db"),
    "bits of the weights lost, front end": (coarse_weights, FRONT_END, 2, Target.fp16, "snr_db"),
    "bits of the weights lost, front end in bf16": (coarse_weights, FRONT_END, 1, Target.bf16, "snr_db"),
}
"""Fault -> how it is planted, the component, the version, the precision, and the metric whose gate catches it."""


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_lowering_is_caught(
    fault: str, exported: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant, component, version, target, metric = FAULTS[fault]
    asked, graph = exported(component, version)
    with monkeypatch.context() as patch:
        wanted, result = lowered_to(plant(patch, asked), graph, tmp_path, target=target)
    with pytest.raises(VerificationError, match=metric):
        held(Request(wanted.settings, asked.subject), graph, result, tmp_path)


def test_the_search_finds_what_a_vocoder_needs_in_float32(tmp_path: Path) -> None:
    """Three decibels more than the rules alone reach are stated; the search reaches them with a few nodes."""
    family = Family.cosyvoice1
    subject = resolve_subject(ModelSettings(family=family, hyperparameters=NARROW), None, False, VOCODER)
    sizes = {"seq_len": (4, 6, 8), "noise_len": (1, 1000, 2000)}
    asked = Request(request(ModelSettings(family=family), sizes=sizes).settings, subject)
    bench = Bench(asked, tmp_path / "bench")
    graph = graph_of(bench.simplify(graph_of(bench.export()))).path
    wanted, plain = lowered_to(asked, graph, tmp_path / "plain", target=Target.fp16)
    reached = held(wanted, graph, plain, tmp_path / "plain").metrics["worst"]["snr_db"]
    more = round(reached + 3, 1)
    stated = {"target": Target.fp16, "snr_db": more}
    wanted, plain = lowered_to(asked, graph, tmp_path / "stated", **stated)
    with pytest.raises(VerificationError, match="snr_db"):
        held(wanted, graph, plain, tmp_path / "stated")
    wanted, result = lowered_to(asked, graph, tmp_path / "search", **stated, method=Method.search)
    found = result.metrics["search"]
    assert found["nodes"]
    assert found["cost"]["nodes"] < found["candidates"]
    assert held(wanted, graph, result, tmp_path / "search").metrics["worst"]["snr_db"] >= more


def test_gates_follow_the_bits_of_the_type() -> None:
    """One bit is 6.02 dB: bf16 has eight significant bits, fp16 eleven."""
    for kind in (Kind.waveform, Kind.spectrum, Kind.condition):
        ratios = {target: OF_KIND_LOWERED[target][kind]["snr_db"] for target in TARGETS}
        assert 15 <= ratios[Target.fp16] - ratios[Target.bf16] <= 3 * 6.03
        assert ratios[Target.mixed] > ratios[Target.fp16]
