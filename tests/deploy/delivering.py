"""The artifacts of a run made without a run: files with the manifests that `run.deliver` writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnx import TensorProto, helper, numpy_helper, save

from cosybuild.manifest import write_manifest
from cosybuild.runtime import load_estimator

_ELEMENTS = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16}
NAMES, NAMES_OUT = ("x", "mask", "mu", "t", "spks", "cond"), "estimator_out"


def estimator_shapes(batch: int | str = 2) -> dict[str, list[int | str]]:
    """Return the inputs and then the output of the contract's table."""
    frames: list[int | str] = [batch, 80, "seq_len"]
    shapes: dict[str, list[int | str]] = dict.fromkeys(("x", "mu", "cond", "estimator_out"), frames)
    shapes |= {"mask": [batch, 1, "seq_len"], "t": [batch], "spks": [batch, 80]}
    return {name: shapes[name] for name in (*NAMES, "estimator_out")}


def campplus_shapes() -> dict[str, list[int | str]]:
    return {"input": [1, "seq_len", 80], "output": [1, 192]}


def put_graph(path: Path, shapes: dict[str, list[int | str]], *, dtype: str = "float32", **facts: Any) -> Path:
    """Write a small valid graph with these ports; its output is a constant."""
    ports = [helper.make_tensor_value_info(name, _ELEMENTS[dtype], shape) for name, shape in shapes.items()]
    value = helper.make_tensor("seed", TensorProto.FLOAT, [1], [float(facts.pop("seed", 0))])
    nodes = [helper.make_node("Constant", [], [ports[-1].name], value=value)]
    save(helper.make_model(helper.make_graph(nodes, "g", ports[:-1], ports[-1:]), ir_version=9), path)
    return certify(path, shapes, dtype, **{"slot": "graph" if dtype == "float32" else "lowered", **facts})


def put_estimator(
    path: Path, answer: float, *, streaming: bool = False, dynamic: bool = False, beside: bool = False, **facts: Any
) -> Path:
    """Write an estimator that can be run and returns `answer` everywhere; `answer` also identifies its build.

    Args:
        beside: True to store the answer in a second file, as weights above 2 GB are.
    """
    shapes = estimator_shapes("batch" if dynamic else 2)
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    value, zero = (
        numpy_helper.from_array(np.array([number], np.float32), name)
        for number, name in ((answer, "answer"), (0, "zero"))
    )
    nodes = [
        helper.make_node("Mul", ["x", "zero"], ["still"]),
        helper.make_node("Add", ["still", "answer"], [NAMES_OUT]),
    ]
    graph = helper.make_graph(nodes, "g", ports[:-1], ports[-1:], [value, zero])
    model = helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 18)])
    data = path.with_name(f"{path.name}.data")
    if beside:
        save(model, path, save_as_external_data=True, location=data.name, size_threshold=0)
    else:
        save(model, path)
    origin = {"streaming": streaming, "weights_digest": f"{answer:064.0f}", **facts.pop("model", {})}
    return certify(path, shapes, "float32", slot="graph", model=origin, companions=[data] if beside else [], **facts)


def answer_of(directory: Path, *, streaming: bool = False, batch: int = 2) -> float:
    """Load a directory as a service does, call it, and return the one value of its output."""
    mel = torch.ones(batch, 80, 5)
    given = (mel, torch.ones(batch, 1, 5), mel, torch.ones(batch), torch.ones(batch, 80), mel)
    values = load_estimator(directory, threads=1)(*given, streaming=streaming).unique()
    assert values.numel() == 1
    return float(values)


def put_plan(
    path: Path, shapes: dict[str, list[int | str]], *, dtype: str, sm: int = 89, library: str = "tensorrt", **facts: Any
) -> Path:
    """Write a file in place of an engine, which these tests never open."""
    path.write_bytes(b"ftrt" + str(facts.pop("seed", 0)).encode() + bytes(100))
    plain: dict[str, list[int | str]] = {n: [-1 if isinstance(a, str) else a for a in s] for n, s in shapes.items()}
    built_for = {"flavour": library, "version": "10.13.3", "sm": sm}
    built_for |= {"hardware_compatibility": "none", "version_compatible": False}
    return certify(path, plain, dtype, **{"slot": f"engine_sm{sm}", "built_for": built_for, **facts})


def certify(
    path: Path, shapes: dict[str, list[int | str]], dtype: str, *, companions: Sequence[Path] = (), **facts: Any
) -> Path:
    """Write the manifest of an artifact."""
    ports = [{"name": name, "dtype": dtype, "shape": shape} for name, shape in shapes.items()]
    model = {"family": "cosyvoice2", "streaming": False, "random_weights": False, "weights": "flow.pt"}
    model |= {"weights_digest": "1" * 64, **facts.pop("model", {})}
    known = {"verified": True, "interface": {"inputs": ports[:-1], "outputs": ports[-1:]}, "model": model}
    write_manifest(path, {**known, **facts}, companions)
    return path


def tree(root: Path) -> dict[str, bytes]:
    """Return name -> content of all files in service below `root`."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and ".cosybuild-backup" not in path.parts
    }
