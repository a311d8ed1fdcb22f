"""The manifest of one artifact of a run: the run's facts, the artifact's own facts, and its verification."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cosybuild.building.record import Outcome, StepRecord
from cosybuild.dtypes import FROM_TENSORRT
from cosybuild.manifest import SUFFIX, manifest_text, parse_manifest
from cosybuild.onnxgraph.header import GraphHeader, GraphPort, read_header
from cosybuild.store.artifact import Artifact, StoredFile

_DONE = ("hit", "pulled", "built")
_JUDGED = {
    "verify": "graph",
    "verify_lowered": "lowered",
    "verify_torchscript": "torchscript",
    "verify_openvino": "openvino",
}
"""Name of a verifying stage -> the slot whose artifact it verifies.

`verify_engine` is not listed: it verifies the artifact in the slot of an engine.
"""
_WHOLE = "verify_voice"
"""The stage that verifies the graphs of all parts of a voice together. Its inputs are named `part.slot`."""


def sidecar_text(artifact: Artifact, outcome: Outcome, facts: Mapping[str, Any]) -> str:
    """Return the text of the manifest beside an artifact.

    Args:
        artifact: the artifact in the store. If its stage has written a manifest, the facts in it are included.
        outcome: the records of the run's steps, from which the verification is taken.
        facts: facts of the run (see `facts.origin_of`) and of the step that made the artifact.
    """
    main = artifact.files[0]
    written = next((file.path for file in artifact.files[1:] if file.name == main.name + SUFFIX), None)
    own = None if written is None else parse_manifest(written)
    companions = [_fact(file) for file in artifact.files[1:] if not file.name.endswith(SUFFIX)]
    return manifest_text(
        _fact(main),
        companions,
        {**(own or {}), **facts, "interface": _interface(main, own), **verification_of(outcome, artifact, own)},
    )


def _fact(file: StoredFile) -> dict[str, str | int]:
    return {"name": file.name, "size": file.size, "sha256": file.digest}


def _interface(main: StoredFile, own: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the inputs and outputs with name, type and shape, in binding order; None if they are unknown.

    A dynamic size is -1 or the name of an axis.
    """
    if main.name.endswith(".onnx"):
        return interface_of(read_header(main.path))
    if own is None or "tensors" not in own:
        return (own or {}).get("interface")
    ports = [(t["mode"], {**t, "dtype": FROM_TENSORRT.get(t["dtype"], t["dtype"])}) for t in own["tensors"]]
    sides = (("inputs", "input"), ("outputs", "output"))
    return {
        side: [{name: p[name] for name in ("name", "dtype", "shape")} for mode, p in ports if mode == one]
        for side, one in sides
    }


def interface_of(header: GraphHeader) -> dict[str, Any]:
    """Return the inputs and outputs of a graph as plain data, in the form in which manifests state them."""
    return {"inputs": [_port(p) for p in header.inputs], "outputs": [_port(p) for p in header.outputs]}


def _port(port: GraphPort) -> dict[str, Any]:
    return {"name": port.name, "dtype": port.dtype, "shape": list(port.shape)}


def verification_of(outcome: Outcome, artifact: Artifact, own: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the fields `verified`, `verified_by` and `pending` of an artifact's manifest.

    `verified` is False if a verification of this content failed, True if all verifications passed, and None if there
    was none or one is pending. `verified_by` has the labels of the steps that passed. `pending` has the label of each
    step that was not run, with the reason.

    Args:
        outcome: the records of the run's steps.
        artifact: the artifact; verifications of the same content count.
        own: the facts of the manifest that the artifact's stage has written; None if there is none.
    """
    judges = [record for record in outcome.records if record.stage.startswith("verify") and _judges(record, artifact)]
    passed = [record.label for record in judges if record.action in _DONE]
    pending = [f"{record.label}: {record.reason}" for record in judges if record.action == "blocked"]
    if not judges and own and "built_for" in own:  # an engine for a kind of GPU that this machine does not have
        pending = [f"verify engine: needs a GPU (sm_{own['built_for']['sm']})"]
    failed = len(judges) > len(passed) + len(pending)
    verified = False if failed else (bool(passed) and not pending) or None
    return {"verified": verified, "verified_by": passed, "pending": pending}


def _judges(record: StepRecord, artifact: Artifact) -> bool:
    if record.stage == _WHOLE:
        judged = ("graph", "lowered")
        return any(name.endswith(judged) and given.digest == artifact.digest for name, given in record.inputs.items())
    slot = _JUDGED.get(record.stage, "engine")
    return any(name.startswith(slot) and given.digest == artifact.digest for name, given in record.inputs.items())
