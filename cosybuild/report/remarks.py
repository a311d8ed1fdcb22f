"""Remarks on a run for the console and report.md: things that were not built, not run or not verified."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_DONE = ("built", "hit", "pulled")
EXECUTED, INSPECTED, UNCHECKED = "executed", "graph executed, engine only inspected", "not checked"


def remarks(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for random weights, for everything that was not verified, and for each pending step."""
    if report["model"]["random_weights"]:
        given = "model.weights=FILE" if report["model"]["family"] == "module" else "model_dir=DIR"
        yield f"The weights are {report['model']['weights']}: give {given} to build a trained model."
    if report["verified"] is None:
        yield "Nothing was verified (verify=off)."
    labels = {step["label"] for step in report["steps"]}
    for step in report["steps"]:
        if rest := (step["metrics"] or {}).get("rest"):
            yield f"{step['label']}: {rest}."
        prefix = f"{step['part']} " if step.get("part") else ""
        verification = f"{prefix}verify {step['label'].removeprefix(prefix)}"
        if step["stage"] == "engine" and step["action"] in _DONE and verification not in labels:
            yield f"{step['label']}: not run here; run the same command on a machine with that GPU to verify it."
        if step["action"] == "blocked":
            yield f"pending: {step['label']} {step['reason']}"


def checks(report: Mapping[str, Any]) -> Mapping[str, str]:
    """Return artifact path -> how the artifact was verified: `EXECUTED`, `INSPECTED` or `UNCHECKED`.

    If another machine has executed it for verification, the text is `executed on HOST`.
    """
    steps = {step["label"]: step for step in report["steps"]}
    executed = {a["digest"] for a in report["artifacts"] if a.get("verified_by")}
    here, found = str(report["environment"]["machine"].get("host")), {}
    for artifact in report["artifacts"]:
        if by := artifact.get("verified_by"):
            hosts = {str((steps[label]["made"] or {}).get("host", here)) for label in by}
            away = ", ".join(sorted(hosts - {here}))
            found[artifact["path"]] = f"{EXECUTED} on {away}" if away else EXECUTED
        else:
            graph = steps[artifact["made_by"]]["inputs"].get("lowered")
            found[artifact["path"]] = INSPECTED if graph and graph["digest"] in executed else UNCHECKED
    return found


def verdict(report: Mapping[str, Any]) -> str:
    """Return how far the artifacts of a run are verified: `yes`, `NO`, `in part (see Artifacts)` or `not requested`."""
    if report["verified"] is None:
        return "not requested"
    if not report["verified"]:
        return "NO"
    return "in part (see Artifacts)" if is_verified_in_part(report) else "yes"


def is_verified_in_part(report: Mapping[str, Any]) -> bool:
    """Return True if every verification passed, but an artifact was only inspected or not verified at all."""
    return bool(report["verified"]) and not all(how.startswith(EXECUTED) for how in checks(report).values())


def warnings_of(step: Mapping[str, Any]) -> Sequence[str]:
    """Return the warnings that were printed when a step was built, and the warnings in its metrics, each only once."""
    found = [*step.get("warnings", ()), *((step.get("metrics") or {}).get("warnings") or ())]
    return list(dict.fromkeys(found))
