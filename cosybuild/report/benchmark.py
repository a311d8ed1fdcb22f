"""The benchmark section of a report: one table for each size, and sentences about the comparisons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cosybuild.report.figures import latency, size

Row = tuple[str, ...]

HEAD = ("", "median", "interval", "frames per second", "real-time factor", "memory of a call", "first call")


def headline(metrics: Mapping[str, Any]) -> str:
    """Return one line on the fastest runner (a timed artifact or PyTorch) at the first timed size.

    An example is `onnxruntime fp32 41.2 ms at seq_len=500, real-time factor 0.041`.

    Args:
        metrics: the metrics of a `benchmark` step.
    """
    timed = [case for case in metrics["cases"] if case["results"]]
    if not timed:
        return "nothing could be timed"
    best = min(timed[0]["results"], key=lambda result: result["median"])
    factor = best["real_time_factor"]
    tail = "" if factor is None else f", real-time factor {factor:.3g}"
    return f"{best['name']} {latency(best['median'])} at {where(timed[0])}{tail}"


def where(case: Mapping[str, Any]) -> str:
    """Return the sizes of a timed case, e.g. `seq_len=500 batch=2`."""
    return " ".join(f"{symbol}={number}" for symbol, number in case["sizes"].items()) or "fixed sizes"


def rows(case: Mapping[str, Any]) -> Iterator[Row]:
    """Yield one table row for each runner that was timed at the size of this case, with the columns of `HEAD`."""
    for result in case["results"]:
        rate, factor = result["frames_per_second"], result["real_time_factor"]
        yield (
            result["name"],
            latency(result["median"]),
            f"{latency(result['low'])} to {latency(result['high'])} ({result['coverage']:.0%})",
            "" if rate is None else f"{rate:,.0f}",
            "" if factor is None else f"{factor:.3g}",
            size(result["peak_bytes"]),
            latency(result["first_seconds"]),
        )


def remarks(case: Mapping[str, Any]) -> Iterator[str]:
    """Yield sentences about one timed case.

    There is one for each comparison of two runners, one for each runner that does not accept the size, and one if the
    limit of time or rounds was reached before the intervals were narrow enough.
    """
    for verdict in case["verdicts"]:
        ratio = verdict["ratio"]
        figures = f"{ratio['median']:.3f} of its time, {ratio['low']:.3f} to {ratio['high']:.3f}"
        if verdict["outcome"] not in ("faster", "slower"):
            yield f"{verdict['name']} and {verdict['against']}: {verdict['outcome']} ({figures})."
        else:
            yield f"{verdict['name']} is {verdict['outcome']} than {verdict['against']} ({figures})."
    for refusal in case["refused"]:
        yield f"{refusal['name']} does not accept this size: {refusal['reason']}"
    if case["results"] and not case["settled"]:
        rounds = case["rounds"]
        yield f"Time or rounds reached their limit after {rounds} rounds, before every interval was narrow enough."


def absences(metrics: Mapping[str, Any]) -> Iterator[str]:
    """Yield one sentence for each runner that was not timed, with the reason."""
    for one in metrics["absent"]:
        yield f"{one['name']} was not timed: {one['reason']}"
