"""A run's artifacts/ without a run: files with the manifests that `run.deliver` writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from onnx import TensorProto, helper, save

from cosybuild.manifest import write_manifest

_ELEMENTS = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16}
NAMES = ("x", "mask", "mu", "t", "spks", "cond")


def estimator_shapes(batch: int | str = 2) -> dict[str, list[int | str]]:
    """Inputs, then the output, of the contract's table."""
    frames: list[int | str] = [batch, 80, "seq_len"]
    shapes: dict[str, list[int | str]] = dict.fromkeys(("x", "mu", "cond", "estimator_out"), frames)
    shapes |= {"mask": [batch, 1, "seq_len"], "t": [batch], "spks": [batch, 80]}
    return {name: shapes[name] for name in (*NAMES, "estimator_out")}


def campplus_shapes() -> dict[str, list[int | str]]:
    return {"input": [1, "seq_len", 80], "output": [1, 192]}


def put_graph(path: Path, shapes: dict[str, list[int | str]], *, dtype: str = "float32", **facts: Any) -> Path:
    """A small valid graph with these ports; its output is a constant."""
    ports = [helper.make_tensor_value_info(name, _ELEMENTS[dtype], shape) for name, shape in shapes.items()]
    value = helper.make_tensor("seed", TensorProto.FLOAT, [1], [float(facts.pop("seed", 0))])
    nodes = [helper.make_node("Constant", [], [ports[-1].name], value=value)]
    save(helper.make_model(helper.make_graph(nodes, "g", ports[:-1], ports[-1:]), ir_version=9), path)
    return certify(path, shapes, dtype, **{"slot": "graph" if dtype == "float32" else "lowered", **facts})


def put_plan(
    path: Path, shapes: dict[str, list[int | str]], *, dtype: str, sm: int = 89, flavour: str = "tensorrt", **facts: Any
) -> Path:
    """A file that stands for an engine: nothing here opens one."""
    path.write_bytes(b"ftrt" + str(facts.pop("seed", 0)).encode() + bytes(100))
    plain: dict[str, list[int | str]] = {n: [-1 if isinstance(a, str) else a for a in s] for n, s in shapes.items()}
    built_for = {"flavour": flavour, "version": "10.13.3", "sm": sm}
    built_for |= {"hardware_compatibility": "none", "version_compatible": False}
    return certify(path, plain, dtype, **{"slot": f"engine_sm{sm}", "built_for": built_for, **facts})


def certify(path: Path, shapes: dict[str, list[int | str]], dtype: str, **facts: Any) -> Path:
    """Write the manifest."""
    ports = [{"name": name, "dtype": dtype, "shape": shape} for name, shape in shapes.items()]
    model = {"family": "cosyvoice2", "streaming": False, "random_weights": False, "weights": "flow.pt"}
    model |= {"weights_digest": "1" * 64, **facts.pop("model", {})}
    known = {"verified": True, "interface": {"inputs": ports[:-1], "outputs": ports[-1:]}, "model": model}
    write_manifest(path, {**known, **facts})
    return path


def tree(root: Path) -> dict[str, bytes]:
    """name -> content of all files in service below `root`."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and ".cosybuild-backup" not in path.parts
    }
