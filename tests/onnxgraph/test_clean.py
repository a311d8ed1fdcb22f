from __future__ import annotations

from onnx import ModelProto, NodeProto, TensorProto, helper

from cosybuild.onnxgraph.clean import PRODUCER, clean_model, module_path
from cosybuild.onnxgraph.scopes import qualify_names
from tests.onnxgraph.graphs import linear


def noted(node: NodeProto, scopes: list[str]) -> NodeProto:
    node.metadata_props.add(key="pkg.torch.onnx.name_scopes", value=repr(scopes))
    node.metadata_props.add(key="pkg.torch.onnx.stack_trace", value='File "/home/somebody/model.py", line 3')
    return node


def dirty() -> ModelProto:
    nodes = [
        noted(helper.make_node("Relu", ["x"], ["a"], name="node_relu"), ["", "estimator", "estimator.m.7", "relu"]),
        noted(
            helper.make_node("Relu", ["a"], ["estimator.b"], name="node_relu_1"),
            ["", "estimator", "estimator.m.7", "relu_1"],
        ),
        helper.make_node("MatMul", ["estimator.b", "estimator.w"], ["y"], name="/estimator/m.7/1/MatMul"),
    ]
    model = linear(nodes)
    model.graph.initializer[0].name = "estimator.w"
    model.producer_name, model.producer_version = "pytorch", "2.13.0+somewhere"
    model.doc_string = model.graph.doc_string = "made in /home/somebody"
    model.metadata_props.add(key="where", value="/home/somebody")
    model.graph.value_info.append(helper.make_tensor_value_info("a", TensorProto.FLOAT, ["n", 4]))
    return model


def test_nothing_that_depends_on_the_machine_remains() -> None:
    model = dirty()
    clean_model(model, prefix="estimator")
    assert b"somebody" not in model.SerializeToString()
    assert (model.producer_name, model.producer_version) == (PRODUCER, "")
    assert not model.graph.value_info


def test_both_exporters_name_nodes_after_their_modules() -> None:
    model = dirty()
    clean_model(model, prefix="estimator")
    assert [node.name for node in model.graph.node] == ["/m.7/Relu", "/m.7/Relu_1", "/m.7/1/MatMul"]
    assert [module_path(node.name) for node in model.graph.node] == ["m.7", "m.7", "m.7.1"]
    assert module_path("/Shape") == ""


def test_short_names_of_torchscript_are_completed() -> None:
    modules = ["blocks", "blocks.0", "blocks.0.1", "blocks.0.ff", "blocks.0.ff.net", "blocks.0.ff.net.0",
               "blocks.0.ff.net.0.proj", "blocks.1", "blocks.1.ff", "a", "a.proj", "b", "b.proj"]  # fmt: skip
    names = {
        "/blocks.0/blocks.0.1/Relu": "/blocks.0/1/Relu",
        "/blocks.0/ff/proj/Gemm_2": "/blocks.0/ff/net.0.proj/Gemm_2",
        "/blocks.1/ff/Add": "/blocks.1/ff/Add",
        "/proj/Add": "/proj/Add",  # the node may belong to a, to b or to the block, so its name is not completed
        "/Shape": "/Shape",
        "Identity_3": "Identity_3",
    }
    model = linear([helper.make_node("Relu", ["x"], [f"y{i}"], name=name) for i, name in enumerate(names)])
    qualify_names(model, modules)
    assert [node.name for node in model.graph.node] == list(names.values())


def test_values_lose_the_name_of_the_wrapper_and_stay_connected() -> None:
    model = dirty()
    clean_model(model, prefix="estimator")
    assert list(model.graph.node[2].input) == ["b", "w"]
    assert model.graph.initializer[0].name == "w"
    from cosybuild.onnxgraph.check import check_model

    check_model(model)


def test_without_a_wrapper_names_stay_unchanged() -> None:
    model = dirty()
    clean_model(model)
    assert model.graph.node[0].name == "/estimator/m.7/Relu"
    assert model.graph.initializer[0].name == "estimator.w"


def test_names_are_unique_and_differ_from_numbered_ones() -> None:
    nodes = [helper.make_node("Relu", ["x" if i == 0 else f"v{i}"], [f"v{i + 1}"], name=n)
             for i, n in enumerate(["/a", "/a_1", "/a", "/a", ""])]  # fmt: skip
    model = linear([*nodes, helper.make_node("MatMul", ["v5", "w"], ["y"])])
    clean_model(model)
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names)
    assert names[:2] == ["/a", "/a_1"]


def test_nested_graphs_are_cleaned_too() -> None:
    def branch(name: str) -> object:
        node = helper.make_node("Identity", ["estimator.b"], [name])
        node.doc_string = "/home/somebody"
        return helper.make_graph([node], name, [], [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)])

    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["estimator.b"]),
        helper.make_node("If", ["yes"], ["y"], then_branch=branch("p"), else_branch=branch("q")),
    ]
    model = linear(nodes)
    clean_model(model, prefix="estimator")
    assert b"somebody" not in model.SerializeToString()
    assert model.graph.node[1].attribute[0].g.node[0].input[0] == "b"
