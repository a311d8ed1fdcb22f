from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from cosybuild.config.groups.model import Family, ModelSettings, TensorSettings
from cosybuild.config.groups.precision import Target
from cosybuild.config.groups.simplify import SimplifySettings
from cosybuild.config.groups.verify import VerifyMode
from cosybuild.errors import ModelError, VerificationError
from cosybuild.numerics.gates import LOWERED
from cosybuild.onnxgraph.files import load_model, save_model
from cosybuild.request import Request
from cosybuild.stages.reference import UNOPTIMISED
from cosybuild.stages.verify import VerifyStage
from cosybuild.store.artifact import Artifact
from cosybuild.verification.scope import cases_of, ingredients
from tests.stages.building import STREAMING, TINY, Bench, artifact, full_size, graph_of, module, request, tiny

UPSTREAM = {"mode": VerifyMode.upstream, "rtol": 1e-2, "atol": 1e-4, "snr_db": None, "solver": None}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Bench, Artifact]]:
    """Export and simplify a fixture's model once for all tests of this file."""
    made: dict[tuple[str, bool, bool], tuple[Bench, Artifact]] = {}

    def build(family: str, streaming: bool = False, dynamic_batch: bool = False) -> tuple[Bench, Artifact]:
        key = (family, streaming, dynamic_batch)
        if key not in made:
            asked = tiny(family, streaming=streaming, dynamic_batch=dynamic_batch)
            bench = Bench(asked, tmp_path_factory.mktemp(family))
            made[key] = bench, graph_of(bench.simplify(graph_of(bench.export())))
        return made[key]

    return build


Built = Callable[..., tuple[Bench, Artifact]]


@pytest.mark.arithmetic
@pytest.mark.parametrize("dynamic_batch", [False, True])
@pytest.mark.parametrize(("family", "streaming"), [*((f, False) for f in TINY), *((f, True) for f in STREAMING)])
def test_the_tiny_models_are_verified(
    family: str, streaming: bool, dynamic_batch: bool, built: Built, tmp_path: Path
) -> None:
    bench, graph = built(family, streaming, dynamic_batch)
    bench = Bench(bench.asked, tmp_path)
    result = bench.verify(graph)
    (path,) = result.outputs["verification"]
    record = json.loads(path.read_text())
    cases = cases_of(bench.asked)
    assert [case["case"] for case in record["cases"]] == [case.name for case in cases]
    assert record["schema"] == 2
    assert "torch" in record["reference"]
    assert "CPUExecutionProvider" in record["device"]
    worst, figures = result.metrics["worst"], [case["outputs"]["estimator_out"] for case in record["cases"]]
    assert worst["max_abs"] == max(figure["max_abs"] for figure in figures)
    assert float(worst["snr_db"]) == min(float(figure["snr_db"]) for figure in figures)
    assert worst["case"] in {case.name for case in cases}
    assert all(set(case["outputs"]) == {"estimator_out"} for case in record["cases"])
    done = [facts["done"] for kind, facts in bench.events if kind == "progress" and "done" in facts]
    assert done == 2 * list(range(1, len(cases) + 1)), "the references, then the graph"


def test_upstream_mode_compares_ten_lengths(built: Built, tmp_path: Path) -> None:
    _, graph = built("cosyvoice2")
    result = Bench(tiny("cosyvoice2", verify=UPSTREAM), tmp_path).verify(graph)
    assert (result.metrics["cases"], result.metrics["hops"], result.metrics["solver"]) == (10, [], [])
    assert result.metrics["tolerance"] == {"rtol": 1e-2, "atol": 1e-4, "scaled": False, "snr_db": None}


@pytest.mark.parametrize("family", STREAMING)
def test_each_variant_has_its_own_reference(family: str, built: Built, tmp_path: Path) -> None:
    """A graph with full attention is verified as the streaming one, and the reverse."""
    for streaming in (True, False):
        _, graph = built(family, not streaming)
        with pytest.raises(VerificationError):
            Bench(tiny(family, streaming=streaming), tmp_path / str(streaming)).verify(graph)


def spoiled(graph: Artifact, directory: Path, change: Callable[[ModelProto], None]) -> Artifact:
    directory.mkdir(exist_ok=True)
    model = load_model(graph.path)
    change(model)
    return artifact("graph", save_model(model, directory / graph.path.name))


def _largest(model: ModelProto) -> TensorProto:
    return max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))


def _scale(model: ModelProto) -> None:
    tensor = _largest(model)
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.001), tensor.name))


def _swap(first: str, second: str) -> Callable[[ModelProto], None]:
    def change(model: ModelProto) -> None:
        names = {first: second, second: first}
        for node in model.graph.node:
            for index, name in enumerate(node.input):
                node.input[index] = names.get(name, name)

    return change


def _epsilon(model: ModelProto) -> None:
    """Multiply or divide every normalisation's epsilon by ten, whether an attribute or a constant."""
    changed = 0
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "epsilon":
                attribute.f = 1e-6 if attribute.f > 5e-6 else 1e-5
                changed += 1
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.size == 1 and values.dtype == np.float32 and 0 < float(values.reshape(-1)[0]) < 5e-5:
            tensor.CopyFrom(numpy_helper.from_array(values / np.float32(10), tensor.name))
            changed += 1
    assert changed, "there is no epsilon in this graph"


def _drop_bias(model: ModelProto) -> None:
    tensor = next(t for t in model.graph.initializer if t.name.endswith("proj.bias") or t.name.endswith("ff.0.0.bias"))
    tensor.CopyFrom(numpy_helper.from_array(np.zeros_like(numpy_helper.to_array(tensor)), tensor.name))


FAULTS = {
    "mu and cond swapped": _swap("mu", "cond"),
    "x and mu swapped": _swap("x", "mu"),
    "a weight scaled by 1.001": _scale,
    "another epsilon": _epsilon,
    "a dropped bias": _drop_bias,
}


@pytest.mark.arithmetic
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("family", TINY)
def test_planted_faults_fail_verification(family: str, fault: str, built: Built, tmp_path: Path) -> None:
    _, graph = built(family)
    bench = Bench(tiny(family), tmp_path)
    with pytest.raises(VerificationError) as caught:
        bench.verify(spoiled(graph, tmp_path, FAULTS[fault]))
    assert caught.value.exit_code == 5
    message = str(caught.value)
    assert "seq_len=" in message
    assert "estimator_out[" in message
    assert "Next:" in message
    kind, facts = bench.events[-1]
    assert kind == "note"
    assert facts["output"] == "estimator_out"
    assert len(facts["index"]) == 3
    assert facts["case"]["sizes"]["seq_len"] >= 4
    json.dumps(facts, allow_nan=False)
    assert list((tmp_path / "verify").iterdir()) == [], "nothing of a failed verification is left to be found"


def test_a_frozen_length_fails_verification(tmp_path: Path) -> None:
    x, y = TensorSettings("x", ("batch", "length")), TensorSettings("y", ("batch", "length"))
    bench = Bench(module("HiddenFrozenOutput", [x], [y], sizes={"batch": (1, 2, 4), "length": (4, 8, 64)}), tmp_path)
    with pytest.raises(
        VerificationError, match=r"property axes .* y has shape \(2, (\d+)\), \(2, (?!\1\))\d+\) is exp"
    ):
        bench.verify(graph_of(bench.export()))


def test_a_graph_that_cannot_run_at_a_length_fails_verification(tmp_path: Path) -> None:
    x, y = TensorSettings("x", ("batch", "length")), TensorSettings("y", ("batch", "length"))
    asked = module("Even", [x], [y], sizes={"batch": (1, 2, 4), "length": (4, 8, 64)}, example_sizes={"length": 8})
    bench = Bench(asked, tmp_path)
    graph = graph_of(bench.export())
    with pytest.raises(VerificationError, match=r"length=.* cannot compute it"):
        bench.verify(graph)


def test_a_module_of_the_user_is_verified(tmp_path: Path) -> None:
    asked = module(
        "TextEncoder",
        (TensorSettings("tokens", ("batch", "length"), "int64", "integer", 0, 100),
         TensorSettings("memory", ("batch", "frames", 16))),
        (TensorSettings("encoded", ("batch", "length", 16)), TensorSettings("pooled", ("batch", 16))),
        sizes={"batch": (1, 2, 4), "length": (1, 8, 32), "frames": (2, 16, 64)},
    )  # fmt: skip
    bench = Bench(asked, tmp_path)
    result = bench.verify(graph_of(bench.simplify(graph_of(bench.export()))))
    assert result.metrics["cases"] > 12
    assert result.metrics["solver"] == []


def test_an_existing_graph_is_compared_with_itself_without_optimisations(tmp_path: Path) -> None:
    path = _speaker_model(tmp_path)
    result = Bench(_foreign(path), tmp_path).verify(artifact("graph", [path]))
    assert result.metrics["reference"] == UNOPTIMISED
    assert result.metrics["cases"] >= 7


def test_a_model_without_any_finite_output_is_refused(tmp_path: Path) -> None:
    path = _speaker_model(tmp_path, weight=np.inf)
    says = r"^The model itself gives no finite value of output in any case, in float32. In the case frames="
    with pytest.raises(ModelError, match=says):
        Bench(_foreign(path), tmp_path).reference(artifact("graph", [path]))


def test_rows_with_all_scores_masked_are_accepted_if_the_model_has_them(tmp_path: Path) -> None:
    inputs = [TensorSettings("x", (2, "frames", 8)), TensorSettings("mask", (2, 1, "frames"), generator="mask")]
    asked = module("MaskedAttention", inputs, [TensorSettings("y", (2, "frames", 8))], sizes={"frames": (4, 8, 32)})
    bench = Bench(asked, tmp_path)
    graph = graph_of(bench.export())
    reference = bench.reference()
    (warning,) = reference.metrics["warnings"]
    assert warning.startswith("the model itself gives values of y that are not finite in ")
    assert ("warning", {"message": warning}) in bench.events
    result = bench.verify(graph, reference=artifact("reference", reference.outputs["reference"]))
    assert result.metrics["worst"]["snr_db"] > 94
    assert result.metrics["warnings"] == []


def test_a_native_float16_graph_has_the_gate_of_float16(tmp_path: Path) -> None:
    path = _speaker_model(tmp_path, kind=TensorProto.FLOAT16)
    bench = Bench(_foreign(path, dtype="float16"), tmp_path)
    graph = artifact("graph", [path])
    result = bench.verify(graph)
    assert result.metrics["tolerance"] == {"snr_db": LOWERED[Target.fp16]["snr_db"]}
    unit = spoiled(graph, tmp_path / "unit", _one_unit)
    Bench(bench.asked, tmp_path / "again").verify(unit, reference=bench_reference(tmp_path))
    wrong = spoiled(graph, tmp_path / "wrong", _tenth)
    with pytest.raises(VerificationError, match=r"snr_db .* where at least 34 dB is asked for"):
        Bench(bench.asked, tmp_path / "other").verify(wrong, reference=bench_reference(tmp_path))


def bench_reference(directory: Path) -> Artifact:
    return artifact("reference", [directory / "reference" / "reference.npz"])


def _one_unit(model: ModelProto) -> None:
    """Change the last place of every weight in float16."""
    tensor = _largest(model)
    values = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array(np.nextafter(values, np.float16(1)), tensor.name))


def _tenth(model: ModelProto) -> None:
    tensor = _largest(model)
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float16(1.1), tensor.name))


@pytest.mark.parametrize(("simplified", "hop"), [(False, "onnxruntime"), (True, "simplify")])
def test_the_error_does_not_name_simplify_if_it_was_left_out(simplified: bool, hop: str, tmp_path: Path) -> None:
    path = _speaker_model(tmp_path)
    asked = _foreign(path)
    settings = replace(asked.settings, simplify=SimplifySettings() if simplified else None)
    bench = Bench(replace(asked, settings=settings), tmp_path)
    reference = artifact("reference", bench.reference(artifact("graph", [path])).outputs["reference"])
    with pytest.raises(VerificationError, match=rf"the hop with the fault is {hop} \(") as caught:
        bench.verify(spoiled(artifact("graph", [path]), tmp_path / "wrong", _scale), reference=reference)
    assert ("simplify=none" in str(caught.value.hint)) == simplified
    assert "export.exporter" not in str(caught.value.hint), "nothing was exported"


def test_inputs_beyond_the_range_of_float16_are_no_overflow_in_float32(tmp_path: Path) -> None:
    inputs = [TensorSettings("x", ("n", 8), generator="uniform", low=0, high=200_000)]
    asked = module("Softened", inputs, [TensorSettings("y", ("n", 8))], sizes={"n": (1, 2, 4)})
    bench = Bench(asked, tmp_path)
    result = bench.verify(graph_of(bench.export()))
    assert result.metrics["cases"] > 0
    assert ingredients(asked)["beyond_float16"]
    assert "beyond_float16" not in ingredients(tiny("cosyvoice2")), "the default's keys are as they were"


def _foreign(path: Path, dtype: str = "float32") -> Request:
    inputs = (TensorSettings("input", (1, "frames", 80), dtype),)
    outputs = (TensorSettings("output", (1, 6), dtype),)
    model = ModelSettings(family=Family.onnx, path=str(path), inputs=inputs, outputs=outputs)
    return request(model, sizes={"frames": (4, 50, 300)})


def _speaker_model(directory: Path, weight: float = 0.5, kind: int = TensorProto.FLOAT) -> Path:
    nodes = [
        helper.make_node("ReduceMean", ["input", "axis"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "w"], ["output"]),
    ]
    constants = [
        numpy_helper.from_array(np.array([1], np.int64), "axis"),
        numpy_helper.from_array(np.full((80, 6), weight, helper.tensor_dtype_to_np_dtype(kind)), "w"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("input", kind, [1, "frames", 80])],
        [helper.make_tensor_value_info("output", kind, [1, 6])],
        constants,
    )
    path = directory / "campplus.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), str(path))
    return path


def test_the_streaming_cases_have_lengths_on_both_sides_of_the_end_of_a_chunk() -> None:
    lengths = {case.draw.sizes["seq_len"] for case in cases_of(tiny("cosyvoice2", streaming=True))}
    assert {9, 10, 11, 21} <= lengths


def test_the_key_has_only_settings_that_change_the_verdict() -> None:
    stage = VerifyStage()
    base = stage.settings(tiny("cosyvoice2"))
    for changed in ({"seed": 1}, {"rtol": 1e-3}, {"atol": 1e-3}, {"snr_db": 80.0}, {"threads": 2}):
        assert stage.settings(tiny("cosyvoice2", verify=changed)) != base
    assert stage.settings(tiny("cosyvoice2", sizes={"seq_len": (4, 24, 65)})) != base
    assert stage.settings(tiny("cosyvoice2", opset=20)) == base, "the graph's content is in the key already"
    first, second, narrow = (
        stage.settings(tiny("cosyvoice2", verify=UPSTREAM, sizes={"seq_len": (4, 9, top)})) for top in (600, 700, 20)
    )
    assert first == second, "upstream's lengths lie inside both profiles"
    assert first != narrow


def test_the_key_has_the_sizes_of_the_contract_if_the_cases_do_not_determine_them() -> None:
    def asked(*batch: int) -> Request:
        sizes = {"batch": batch, "seq_len": (4, 9, 600)}
        return tiny("cosyvoice2", verify=UPSTREAM, sizes=sizes, dynamic_batch=True)

    pairs, more, longest = asked(2, 2, 2), asked(2, 4, 32), asked(2, 8, 32)
    assert cases_of(pairs) == cases_of(more)
    stage = VerifyStage()
    assert stage.settings(pairs) != stage.settings(more), "only the second tries a batch of 4"
    assert stage.settings(more) == stage.settings(longest), "both try the same sizes"
    assert "contract" not in stage.settings(tiny("cosyvoice2", verify=UPSTREAM, sizes={"seq_len": (1, 9, 600)}))


@pytest.mark.full_size
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("family", "streaming"), [*((f, False) for f in TINY), *((f, True) for f in STREAMING)])
def test_full_size_models_are_verified(family: str, streaming: bool, tmp_path: Path) -> None:
    bench = Bench(full_size(family, streaming=streaming, sizes={"seq_len": (4, 100, 600)}), tmp_path)
    result = bench.verify(graph_of(bench.simplify(graph_of(bench.export()))))
    assert result.metrics["cases"] == len(cases_of(bench.asked))
