from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from cosybuild.config.groups.model import Family, ModelSettings, TensorSettings
from cosybuild.errors import SimplifyError
from cosybuild.onnxgraph.files import load_model, load_structure
from cosybuild.onnxgraph.graph_identity import read_identity
from cosybuild.onnxgraph.interface import interface_faults
from cosybuild.onnxgraph.summary import count_ops
from cosybuild.stages.simplify import SimplifyStage
from cosybuild.store.artifact import Artifact
from tests.stages.building import STREAMING, TINY, Bench, Request, artifact, graph_of, module, request, tiny

X = (TensorSettings("x", ("n", 4)),)
Y = (TensorSettings("y", ("n", 4)),)


def by_hand(tmp_path: Path, *nodes: onnx.NodeProto, constants: tuple[onnx.TensorProto, ...] = ()) -> Artifact:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in "xy"]
    graph = helper.make_graph(list(nodes), "g", values[:1], values[1:], list(constants))
    path = tmp_path / "mine.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), str(path))
    return artifact("graph", [path])


def foreign(tmp_path: Path) -> Request:
    (tmp_path / "mine.onnx").touch()
    return request(ModelSettings(family=Family.onnx, path=str(tmp_path / "mine.onnx"), inputs=X, outputs=Y), sizes={})


def relu(source: str, target: str) -> onnx.NodeProto:
    return helper.make_node("Relu", [source], [target], name=f"/{target}/Relu")


@pytest.mark.parametrize(("family", "streaming"), [*((f, False) for f in TINY), *((f, True) for f in STREAMING)])
def test_the_simplified_graph_has_fewer_nodes_and_the_same_interface(
    family: str, streaming: bool, tmp_path: Path
) -> None:
    bench = Bench(tiny(family, streaming=streaming), tmp_path)
    exported = bench.export()
    result = bench.simplify(graph_of(exported))
    (path,) = result.outputs["graph"]
    model = load_structure(path)
    metrics = result.metrics
    assert metrics["nodes_before"] == exported.metrics["nodes"]
    assert metrics["nodes_after"] == sum(count_ops(model).values()) < metrics["nodes_before"]
    assert metrics["op_difference"]["Constant"] < 0
    assert sum(metrics["op_difference"].values()) == metrics["nodes_after"] - metrics["nodes_before"]
    assert interface_faults(model, bench.asked.subject.spec) == ()
    assert path.name == exported.outputs["graph"][0].name
    assert read_identity(model) == {
        "family": family,
        "part": "flow.decoder.estimator",
        "state_sha256": exported.metrics["module"]["sha256"],
        **({"attention": "streaming"} if streaming else {}),
    }
    assert len(model.metadata_props) == len(read_identity(model))  # onnxsim's own metadata is removed
    assert {kind for kind, _ in bench.events} == {"progress"}


def test_a_second_run_gives_the_same_bytes(tmp_path: Path) -> None:
    bench = Bench(tiny("cosyvoice2"), tmp_path)
    graph = graph_of(bench.export())
    contents = [
        Bench(bench.asked, tmp_path / name).simplify(graph).outputs["graph"][0].read_bytes() for name in ("a", "b")
    ]
    assert contents[0] == contents[1]


def test_large_weights_are_read_from_and_written_to_a_second_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cosybuild.onnxgraph.files.INLINE_LIMIT", 10_000)
    asked = module("Heavy", [TensorSettings("x", ("n", 64))], [TensorSettings("y", ("n", 64))], constant_folding=False)
    bench = Bench(asked, tmp_path)
    graph = graph_of(bench.export())
    assert len(graph.files) == 2
    result = bench.simplify(graph)
    assert len(result.outputs["graph"]) == len(graph.files)
    assert load_model(result.outputs["graph"][0]).graph.initializer[0].raw_data


def test_a_graph_that_cannot_be_simplified_stays_unchanged_with_a_note(tmp_path: Path) -> None:
    graph = by_hand(tmp_path, relu("x", "y"))
    bench = Bench(foreign(tmp_path), tmp_path)
    graph = by_hand(tmp_path, relu("x", "y"))
    result = bench.simplify(graph)
    assert result.outputs["graph"][0].read_bytes() == graph.path.read_bytes()
    assert result.metrics["kept"] == "as it was"
    assert ("note", {"message": "onnxsim removed none of the 1 nodes"}) in bench.events


def test_further_rounds_end_when_nothing_changes(tmp_path: Path) -> None:
    from dataclasses import replace

    asked = foreign(tmp_path)
    asked = replace(asked, settings=replace(asked.settings, simplify=replace(asked.settings.simplify, rounds=9)))
    constant = numpy_helper.from_array(np.ones(4, np.float32), "one")
    graph = by_hand(
        tmp_path,
        helper.make_node("Add", ["one", "one"], ["two"]),
        helper.make_node("Mul", ["x", "two"], ["y"]),
        constants=(constant,),
    )
    result = Bench(asked, tmp_path).simplify(graph)
    assert result.metrics["rounds"] == 2
    assert result.metrics["op_difference"] == {"Add": -1}


def test_a_graph_of_an_early_version_whose_weights_are_no_inputs_is_simplified(tmp_path: Path) -> None:
    """onnxsim refuses version 3 of the format for such a graph, which runtimes load (mul_1.onnx of onnxruntime)."""
    asked = foreign(tmp_path)
    graph = by_hand(
        tmp_path,
        helper.make_node("Mul", ["one", "one"], ["two"]),
        helper.make_node("Mul", ["x", "two"], ["y"]),
        constants=(numpy_helper.from_array(np.full(4, 1.5, np.float32), "one"),),
    )
    early = onnx.load(str(graph.path))
    early.ir_version, early.opset_import[0].version = 3, 7
    onnx.save(early, str(graph.path))
    result = Bench(asked, tmp_path).simplify(artifact("graph", [graph.path]))
    model = load_model(result.outputs["graph"][0])
    assert result.metrics["op_difference"] == {"Mul": -1}
    assert model.ir_version >= 4


def test_the_error_for_a_graph_that_onnxsim_refuses_is_one_line(tmp_path: Path) -> None:
    asked = module("Heavy", [TensorSettings("x", ("n", 64))], [TensorSettings("y", ("n", 64))])
    graph = graph_of(Bench(asked, tmp_path).export())
    model = load_model(graph.path)
    model.graph.node[0].input[0] = "a value that nothing computes"
    graph.path.write_bytes(model.SerializeToString())
    with pytest.raises(SimplifyError, match=r"heavy\.fp32\.onnx") as caught:
        Bench(asked, tmp_path).simplify(graph)
    assert "\n" not in caught.value.message
    assert "simplify=none" in str(caught.value)


def test_a_result_with_other_outputs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """onnxsim runs; then one weight of its result is changed, as by a wrong fusion."""
    import onnxsim

    real = onnxsim.simplify

    def spoiled(*args: object, **kwargs: object) -> tuple[onnx.ModelProto, bool]:
        model, done = real(*args, **kwargs)
        largest = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
        values = numpy_helper.to_array(largest).copy()
        values *= 1.01
        largest.CopyFrom(numpy_helper.from_array(values, largest.name))
        return model, done

    monkeypatch.setattr(onnxsim, "simplify", spoiled)
    bench = Bench(tiny("cosyvoice3"), tmp_path)
    with pytest.raises(SimplifyError, match=r"other outputs .* estimator_out\["):
        bench.simplify(graph_of(bench.export()))


def test_a_result_with_another_interface_is_refused(tmp_path: Path) -> None:
    asked = foreign(tmp_path)
    wrong = request(
        ModelSettings(family=Family.onnx, path=str(tmp_path / "mine.onnx"), inputs=(TensorSettings("z", ("n", 4)),),
                      outputs=Y),
        sizes={},
    )  # fmt: skip
    graph = by_hand(tmp_path, helper.make_node("Identity", ["x"], ["a"]), relu("a", "y"))
    Bench(asked, tmp_path / "good").simplify(graph)
    with pytest.raises(SimplifyError, match="inputs are x; z are declared"):
        Bench(wrong, tmp_path / "bad").simplify(graph)


def test_the_key_has_only_settings_that_change_the_graph() -> None:
    stage = SimplifyStage()
    assert stage.settings(tiny("cosyvoice2")) == stage.settings(tiny("cosyvoice2", opset=20, verify={"seed": 3}))
    assert stage.settings(tiny("cosyvoice2")) != stage.settings(tiny("cosyvoice2", dynamic_batch=True))
