"""Attempts to fill the disk or memory of a person who imports a file, or to let a command wait for ever."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.attacks.ground import Attempt, Ground, Said, forged, report_of

KIND = "fill or wait"
_GIB = 2**30


def claims_much(ground: Ground) -> Said:
    """Write an archive whose index lists 3 GB."""

    def change(index: dict[str, Any]) -> None:
        index["files"]["run/artifacts/zeros.bin"] = {"sha256": "0" * 64, "size": 3 * _GIB}

    return ground.command("import", str(forged(ground, index=change)))


def holds_more_than_it_claims(ground: Ground) -> Said:
    """Write a member of 64 MB that the index lists with 10 bytes."""
    name = "run/artifacts/zeros.bin"

    def change(index: dict[str, Any]) -> None:
        index["files"][name]["size"] = 10

    return ground.command("import", str(forged(ground, more={name: bytes(2**26)}, index=change)))


def long_header(ground: Ground) -> Said:
    """Write a header that tarfile would read into memory: 1 GB, compressed to 1 MB."""
    archive = ground.directory / "header.tar.gz"
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, _GIB
    with gzip.open(archive, "wb", compresslevel=1) as packed:
        packed.write(info.tobuf(tarfile.USTAR_FORMAT))
        packed.write(bytes(2**20))
    return ground.command("import", archive.name)


def many_headers(ground: Ground) -> Said:
    """Write headers of headers, which tarfile follows by recursion."""
    archive = ground.directory / "headers.tar.gz"
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 0
    with gzip.open(archive, "wb", compresslevel=1) as packed:
        packed.write(info.tobuf(tarfile.USTAR_FORMAT) * 5000)
    return ground.command("import", archive.name)


def sparse(ground: Ground) -> Said:
    """Write a sparse member, whose size differs from its content."""
    archive = ground.directory / "sparse.tar.gz"
    info = tarfile.TarInfo("bundle.json")
    info.type, info.size = tarfile.GNUTYPE_SPARSE, 0
    with tarfile.open(archive, "w:gz") as made:
        made.addfile(info)
    return ground.command("import", archive.name)


def failure_archive(ground: Ground, change: Callable[[dict[str, Any]], None], part: bytes | None) -> Path:
    """Write a failure archive with a graph as its part, and the configuration of the ground's bundle."""
    report = report_of(ground.bundle)
    members: dict[str, bytes] = {}
    tensor = {
        "name": "x",
        "shape": [1, 4, "frames"],
        "dtype": "float32",
        "generator": "normal",
        "low": 0.0,
        "high": 1.0,
    }
    index: dict[str, Any] = {
        "schema": 1,
        "kind": "capsule",
        "step": "verify",
        "stage": "verify",
        "command": [],
        "failure": {"step": "verify", "kind": "verification", "message": "x", "hint": None, "exit_code": 5},
        "cause": None,
        "environment": report["environment"],
        "config": report["config"],
        "subject": {
            "family": "module",
            "spec": {"inputs": [tensor], "outputs": [tensor], "guidance": False, "frames_per_second": None},
            "hyperparameters": {},
            "streaming": False,
            "stem": "x",
            "solver": None,
            "existing_graph": False,
        },
        "case": None,
        "cut": None,
        "artifacts": {},
    }
    if part is not None:
        arrays = io.BytesIO()
        np.savez(arrays, input0=np.zeros(1, np.float32))
        members = {"cut/lowered.onnx": part, "cut/inputs.npz": arrays.getvalue()}
        members["cut/reference.onnx"] = members["cut/lowered.onnx"]
        index["cut"] = {"inputs": {"x": "input0"}}
    change(index)
    listed = {n: {"sha256": hashlib.sha256(c).hexdigest(), "size": len(c)} for n, c in members.items()}
    target = ground.directory / "capsule.tar.gz"
    with tarfile.open(target, "w:gz") as archive:
        for name, content in {"capsule.json": json.dumps({**index, "files": listed}).encode(), **members}.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return target


def endless() -> onnx.ModelProto:
    """Return a graph that adds one for ever."""
    true = helper.make_node("Constant", [], ["go"], value=helper.make_tensor("t", TensorProto.BOOL, [], [True]))
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["d"]), helper.make_node("Add", ["v", "v"], ["w"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, [1]),
        ],
        [
            helper.make_tensor_value_info("d", TensorProto.BOOL, []),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, [1]),
        ],
    )
    loop = helper.make_node("Loop", ["", "go", "x"], ["y"], body=body)
    graph = helper.make_graph(
        [true, loop],
        "endless",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def loops_for_ever(ground: Ground) -> Said:
    """Replay a failure archive whose part never ends."""

    def change(index: dict[str, Any]) -> None:
        index["config"]["precision"]["target"] = "fp16"

    return ground.command(
        "replay", str(failure_archive(ground, change, endless().SerializeToString())), "--max-seconds", "6"
    )


def takes_long(ground: Ground) -> Said:
    """Replay a record with a time limit of one second, which is too short for any build."""
    taken = ground.command("import", str(ground.bundle))
    return (
        taken if taken.code else ground.command("replay", ground.run().name, "--trust", "torch", "--max-seconds", "1")
    )


def lengths(path: str) -> Callable[[Ground], Said]:
    """Replay an archive whose configuration names a file of lengths, which must not be opened or printed."""

    def make(ground: Ground) -> Said:
        def change(index: dict[str, Any]) -> None:
            index["config"]["verify"]["lengths"] = path

        said = ground.command("replay", str(failure_archive(ground, change, None)))
        return Said(0, said.text) if "root:" in said.text else said

    return make


ATTEMPTS = (
    Attempt(KIND, "a bundle claims 3 GB", "unpacks to", claims_much),
    Attempt(
        KIND, "a member is larger than its index says", "does not match its size and digest", holds_more_than_it_claims
    ),
    Attempt(KIND, "a header of 1 GB", "cannot be read", long_header),
    Attempt(KIND, "5000 headers of headers", "cannot be read", many_headers),
    Attempt(KIND, "a sparse member", "first member is not", sparse),
    Attempt(KIND, "a failure archive with an endless loop", "did not end within 6 s", loops_for_ever),
    Attempt(KIND, "a record whose build takes long", "did not end within 1 s", takes_long),
    Attempt(KIND, "a failure archive names /etc/passwd", "it lacks what the step", lengths("/etc/passwd")),
    Attempt(KIND, "a failure archive names /dev/zero", "it lacks what the step", lengths("/dev/zero")),
)
