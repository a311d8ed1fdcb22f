"""The figures by which the cells of a sweep are compared, read from report.json and the run's evidence files."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosybuild.figure import measured


@dataclass(frozen=True)
class Figure:
    """The description of one figure of a cell.

    Attributes:
        title: the head of its column.
        unit: `seconds`, `bytes`, `count`, `ratio` or `dB`.
        help: its meaning, in one sentence.
    """

    title: str
    unit: str
    help: str


FIGURES: dict[str, Figure] = {
    "error": Figure("error", "ratio", "The largest difference from the reference, relative to the output's magnitude."),
    "snr_db": Figure("SNR", "dB", "The smallest signal-to-noise ratio of all verified cases."),
    "latency": Figure("latency", "seconds", "The median time of a call at the first timed size."),
    "size": Figure("size", "bytes", "The size of the engine, else of the OpenVINO IR, else of the last graph."),
    "memory": Figure("activations", "bytes", "The activation memory of the engine's largest profile."),
    "nodes": Figure("nodes", "count", "The number of nodes of the last graph."),
    "build_time": Figure("build time", "seconds", "The build time of all steps together."),
}
"""Name of a figure -> description, in the order of the columns. A smaller value is better, except for `snr_db`."""

_OLD_INFINITY = 1e9
"""The ratio in dB by which older records of lowered graphs state that every case is exact."""


def figures(report: Mapping[str, Any]) -> dict[str, float | None]:
    """Return name -> value of all figures in `FIGURES`; None for a figure that the run does not have.

    In a joint build of several networks, `error` and `snr_db` are those of the worst network, and the other figures are
    sums over the networks.

    Args:
        report: the content of report.json.
    """
    parts = list(dict.fromkeys(step.get("part", "") for step in report["steps"])) or [""]
    found = [_of_part(report, part) for part in parts]
    return {name: _combined(name, [one[name] for one in found]) for name in FIGURES}


def _combined(name: str, values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    for value in known:
        if not isinstance(value, int | float):
            raise ValueError(f"the figure {name} is {value!r:.40}, not a number")
    if len(known) < 2:
        return known[0] if known else None
    return {"error": max, "snr_db": min}.get(name, sum)(known)


def _of_part(report: Mapping[str, Any], part: str) -> dict[str, float | None]:
    steps = [step for step in report["steps"] if step.get("part", "") == part]
    artifacts = [artifact for artifact in report["artifacts"] if artifact.get("part", "") == part]
    worst = _worst(steps)
    engines = [step["metrics"] for step in steps if step["stage"] == "engine" and step["metrics"]]
    known = [engine["activation_bytes"]["value"] for engine in engines]
    activations = [value for values in known if values is not None for value in values]
    irs = [step["metrics"]["size_bytes"] for step in steps if step["stage"] == "openvino" and step["metrics"]]
    sizes = [engine["size_bytes"]["value"] for engine in engines] or irs
    graphs = [a["size"] for a in artifacts if a["name"].endswith(".onnx")]
    spent = [step["made"]["seconds"] for step in steps if step["made"]]
    counts = [nodes for step in steps if (nodes := _nodes(step)) is not None]
    latencies = [latency for _, latency in latency_by_length({"steps": steps})]
    return {
        "error": worst.get("max_rel"),
        "snr_db": worst.get("snr_db"),
        "latency": latencies[0] if latencies else None,
        "size": max(sizes, default=graphs[-1] if graphs else None),
        "memory": max(activations, default=None),
        "nodes": counts[-1] if counts else None,
        "build_time": sum(spent) if spent else None,
    }


def error_by_length(run: Path) -> list[tuple[int, float]]:
    """Return (length, largest relative error at that length) for each verified length, the shortest first.

    If the lowered graph was verified, its errors are returned, because it is the last graph of the run.

    Args:
        run: the run directory.
    """
    for name in ("lowered_verification.json", "verification.json"):
        evidence = run / "evidence" / name
        if evidence.is_file():
            cases = json.loads(evidence.read_text(encoding="utf-8"))["cases"]
            return _by_length(cases)
    return []


def latency_by_length(report: Mapping[str, Any]) -> list[tuple[int, float]]:
    """Return (length, median seconds) of the fastest artifact at each timed size. PyTorch is not considered."""
    found = []
    for step in report["steps"]:
        for case in (step["metrics"] or {}).get("cases", []) if step["stage"] == "benchmark" else []:
            ours = [r["median"] for r in case["results"] if "torch" not in r["name"].lower()]
            if ours:
                found.append((max(case["sizes"].values(), default=0), min(ours)))
    return found


def _worst(steps: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Return `max_abs`, `max_rel` and `snr_db` of the last verification, without metrics that it did not measure."""
    verified = [step["metrics"]["worst"] for step in steps if "worst" in (step["metrics"] or {})]
    if not verified or verified[-1].get("case") == "":  # older records have an empty case if there was none
        return {}
    last = verified[-1]
    found = {name: measured(last, name) for name in ("max_abs", "max_rel", "snr_db")}
    if found["max_rel"] is None and found["max_abs"] == 0:
        found["max_rel"] = 0.0  # older records have no max_rel if the error is zero
    if found["snr_db"] is not None and found["snr_db"] >= _OLD_INFINITY:
        found["snr_db"] = math.inf
    return {name: value for name, value in found.items() if value is not None}


def _nodes(step: Mapping[str, Any]) -> int | None:
    metrics = step["metrics"] or {}
    count = {"export": metrics.get("nodes"), "simplify": metrics.get("nodes_after")}.get(step["stage"])
    return None if count is None else int(count)


def _by_length(cases: Iterable[Mapping[str, Any]]) -> list[tuple[int, float]]:
    longest: dict[int, float] = {}
    for case in cases:
        length, errors = _length(case), list(_errors(case))
        if length is not None and errors:
            longest[length] = max(errors + ([longest[length]] if length in longest else []))
    return sorted(longest.items())


def _length(case: Mapping[str, Any]) -> int | None:
    """Return the size of the first dynamic axis of a case; None if it is not known.

    In older evidence, only the name of the case has this size.
    """
    if case.get("sizes"):
        return int(next(iter(case["sizes"].values())))
    named = re.search(r"=(\d+)", case["case"])
    return None if named is None else int(named[1])


def _errors(value: Any) -> Iterator[float]:
    """Yield every `max_rel` in the data of a case, at any depth."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if name == "max_rel":
                error = measured(value, name)
                yield math.inf if error is None else error
            else:
                yield from _errors(inner)
