"""The manifest of one delivered artifact: the run's facts, the artifact's own, and whether it was verified."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cosybuild.core.artifact import Artifact, StoredFile
from cosybuild.core.record import Outcome, StepRecord
from cosybuild.manifest import SUFFIX, manifest_text, parse_manifest
from cosybuild.onnxgraph.header import GraphPort, read_header

_DONE = ("hit", "pulled", "built")
_DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "BF16": "bfloat16",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
}


def sidecar_text(artifact: Artifact, outcome: Outcome, facts: Mapping[str, Any]) -> str:
    """The text of the manifest beside an artifact.

    Args:
        artifact: what was made, in the store; a manifest that its stage wrote for it is taken over.
        facts: of the run and of the step, see `Facts.origin`.
    """
    main = artifact.files[0]
    written = next((file.path for file in artifact.files[1:] if file.name == main.name + SUFFIX), None)
    own = None if written is None else parse_manifest(written)
    companions = [_fact(file) for file in artifact.files[1:] if not file.name.endswith(SUFFIX)]
    return manifest_text(
        _fact(main),
        companions,
        {**(own or {}), **facts, "interface": _interface(main, own), **_verification(outcome, artifact, own or {})},
    )


def _fact(file: StoredFile) -> dict[str, Any]:
    return {"name": file.name, "size": file.size, "sha256": file.digest}


def _interface(main: StoredFile, own: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Names, types and shapes in binding order; -1 or a symbol where a size varies."""
    if main.name.endswith(".onnx"):
        header = read_header(main.path)
        return {"inputs": [_port(p) for p in header.inputs], "outputs": [_port(p) for p in header.outputs]}
    if own is None or "tensors" not in own:
        return None
    ports = [(t["mode"], {**t, "dtype": _DTYPES.get(t["dtype"], t["dtype"])}) for t in own["tensors"]]
    sides = (("inputs", "input"), ("outputs", "output"))
    return {
        side: [{name: p[name] for name in ("name", "dtype", "shape")} for mode, p in ports if mode == one]
        for side, one in sides
    }


def _port(port: GraphPort) -> dict[str, Any]:
    return {"name": port.name, "dtype": port.dtype, "shape": list(port.shape)}


def _verification(outcome: Outcome, artifact: Artifact, own: Mapping[str, Any]) -> dict[str, Any]:
    """`verified` is True, False, or None where nothing looked at this very content; `verified_by` says who did.

    A pending verification is not a passed one: `pending` names it.
    """
    judges = [record for record in outcome.records if record.stage.startswith("verify") and _saw(record, artifact)]
    passed = [record.label for record in judges if record.action in _DONE]
    pending = [f"{record.label}: {record.reason}" for record in judges if record.action == "blocked"]
    if not judges and "built_for" in own:  # ahead of time, for a GPU that this machine has not
        pending = [f"verify engine: needs a GPU (sm_{own['built_for']['sm']})"]
    failed = len(judges) > len(passed) + len(pending)
    verified = False if failed else (bool(passed) and not pending) or None
    return {"verified": verified, "verified_by": passed, "pending": pending}


def _saw(record: StepRecord, artifact: Artifact) -> bool:
    return any(given.digest == artifact.digest for given in record.inputs.values())
