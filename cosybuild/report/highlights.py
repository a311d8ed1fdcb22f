"""The most important figure of each step, as a phrase."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from cosybuild.figure import measured
from cosybuild.report import repetition, voice
from cosybuild.report.benchmark import headline
from cosybuild.report.figures import counted, size
from cosybuild.report.sweep_table import figure_text


def highlight(step: Mapping[str, Any]) -> str:
    """Return the most important figure of a step, e.g. `2,623 -> 2,198 nodes` for `simplify`.

    The text is empty for a step without metrics, and for a stage that is not in `_PHRASES`.
    """
    phrase = _PHRASES.get(str(step["stage"]))
    metrics = step.get("metrics") or {}
    return phrase(metrics) if phrase is not None and metrics else ""


def _export(metrics: Mapping[str, Any]) -> str:
    return f"{metrics['nodes']:,} nodes, opset {metrics['opset']}"


def _simplify(metrics: Mapping[str, Any]) -> str:
    return f"{metrics['nodes_before']:,} -> {metrics['nodes_after']:,} nodes"


def _verify(metrics: Mapping[str, Any]) -> str:
    worst, cases = metrics["worst"], counted(metrics["cases"], "case")
    error = measured(worst, "max_abs")
    if error is None:
        return f"{cases}{_mel(metrics)}"
    told = f"worst error {error:.1e} ({worst['case']})" if error != 0 else "no error"
    return f"{cases}, {told}{_mel(metrics)}"


def _mel(metrics: Mapping[str, Any]) -> str:
    """Return a phrase with the lowest signal-to-noise ratio of the solver's mels; empty if the solver was not run."""
    found = [measured(run["mel"], "snr_db") for run in metrics.get("solver") or []]
    ratios = [ratio for ratio in found if ratio is not None]
    return f", mel {figure_text('snr_db', min(ratios))}" if ratios else ""


def _reference(metrics: Mapping[str, Any]) -> str:
    runs = counted(len(metrics["rollouts"]), "run") + " of the solver" if metrics["rollouts"] else "no solver"
    return f"{counted(metrics['cases'], 'case')}, {runs}, {metrics['said']}"


def _precision(metrics: Mapping[str, Any]) -> str:
    nodes = metrics["nodes"]
    share = metrics["flops_lowered"]
    found = metrics.get("search")
    spent = f", {counted(found['evaluations'], 'evaluation')}" if found else ""
    return f"{nodes['kept_fp32']:,} of {nodes['float']:,} nodes kept in fp32, {share:.1%} of matrix work lowered{spent}"


def _profile(metrics: Mapping[str, Any]) -> str:
    worst = metrics["nodes"]
    return f"most noise at {worst[0]['node']}" if worst else "no noise"


def _verify_lowered(metrics: Mapping[str, Any]) -> str:
    # Count each case once, although it has one record for each runtime that computed it.
    cases = counted(len({record["case"] for record in metrics["cases"]}), "case")
    worst, kinds = metrics["worst"], (metrics.get("kinds") or {}).values()
    share, cosine = measured(worst, "equal_tokens"), measured(worst, "cosine")
    if share is not None:
        return f"{cases}, at least {share:.1%} equal tokens"
    if "embedding" in kinds and cosine is not None:
        return f"{cases}, cosine of at least {cosine:.8f}"
    ratio = measured(worst, "snr_db")
    if ratio is None:
        return f"{cases}{_mel(metrics)}"
    told = "no error" if ratio == math.inf else f"at least {figure_text('snr_db', ratio)} SNR"
    return f"{cases}, {told}{_mel(metrics)}"


def _engine(metrics: Mapping[str, Any]) -> str:
    # There is one size for each profile. A serving process needs memory for the largest.
    known = metrics["activation_bytes"]["value"]
    activations = max(known, default=None) if known is not None else None
    return f"{size(metrics['size_bytes']['value'])}, {size(activations)} of activations, {metrics['builder']}"


def _openvino(metrics: Mapping[str, Any]) -> str:
    kept = metrics["kept_operators"]
    rest = f", {kept:,} of {metrics['operators']:,} operators kept in fp32" if kept else ""
    products = " and ".join(f"{number:,} in {dtype}" for dtype, number in metrics["executed"]["products"].items())
    return f"{size(metrics['size_bytes'])}, products: {products or 'none'}{rest}, {metrics['builder']}"


_PHRASES: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "export": _export,
    "reference": _reference,
    "simplify": _simplify,
    "verify": _verify,
    "precision": _precision,
    "profile": _profile,
    "verify_lowered": _verify_lowered,
    "engine": _engine,
    "verify_engine": _verify_lowered,
    "openvino": _openvino,
    "verify_openvino": _verify_lowered,
    "verify_voice": voice.headline,
    "benchmark": headline,
    "repeat": repetition.headline,
}
