"""The section of a report on repeated builds: the differences between several builds of one configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cosybuild.printable import code
from cosybuild.report.figures import counted, latency, seconds, size

HEAD = ("artifact", "bytes", "outputs", "time of a call")
STEPS = ("step", "shortest", "longest")


def rows(metrics: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield one table row for each artifact, with the columns of `HEAD`.

    Args:
        metrics: the metrics of a `repeat` step.
    """
    for one in metrics["artifacts"]:
        if one["same_bytes"]:
            yield code(one["name"]), "the same", "the same", "the same"
            continue
        sizes = sorted(set(one["sizes"]))
        spread = size(sizes[0]) if len(sizes) == 1 else f"{size(sizes[0])} to {size(sizes[-1])}"
        told = f"{one['distinct']} contents in {len(one['digests'])} builds, {spread}"
        yield code(one["name"]), told, _outputs(one), _latency(one)


def step_rows(metrics: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield one table row for each step with its shortest and longest time, with the columns of `STEPS`."""
    for step, several in metrics["seconds"].items():
        yield step, seconds(min(several)), seconds(max(several))


def headline(metrics: Mapping[str, Any]) -> str:
    """Return one phrase with the number of further builds and the artifacts whose bytes differ."""
    differing = [one["name"] for one in metrics["artifacts"] if not one["same_bytes"]]
    again = counted(metrics["repeats"], "build")
    result = f"with other bytes in {', '.join(differing)}" if differing else "all with the same bytes"
    return f"{again} more, {result}"


def _outputs(one: Mapping[str, Any]) -> str:
    if "outputs" not in one:
        return f"not run: {one['not_run']}" if "not_run" in one else "-"
    worst = max((float(figures["max_abs"]) for figures in one["outputs"].values()), default=0.0)
    return "the same" if worst == 0 else f"differences up to {worst:.2g}"


def _latency(one: Mapping[str, Any]) -> str:
    if "latency" not in one:
        return "-"
    medians = one["latency"]["medians"]
    outcomes = {verdict["outcome"] for verdict in one["latency"]["against_first"]}
    return f"{latency(min(medians))} to {latency(max(medians))}: {', '.join(sorted(outcomes))}"
