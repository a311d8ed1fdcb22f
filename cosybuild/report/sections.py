"""The sections of report.md on single stages and on the deployment. A function yields nothing if there is no data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cosybuild.printable import Markdown, code, paragraph, text
from cosybuild.report import benchmark, noise_profile, repetition, voice
from cosybuild.report.figures import frames, moment
from cosybuild.report.markdown_parts import bullets, table
from cosybuild.report.remarks import warnings_of


def search_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield the section on the nodes that the search of `precision=auto` keeps in float32, and their cost."""
    for step in report["steps"]:
        found = (step.get("metrics") or {}).get("search")
        if not found:
            continue
        yield "## Nodes that the gates need in float32"
        yield ""
        if not found["nodes"]:
            yield "No further nodes: the graph of the rules passes the gates."
            yield ""
            continue
        cost = found["cost"]
        yield (
            f"Found in {found['evaluations']} evaluations among {found['candidates']} nodes; "
            f"{'all of them are needed to pass the gates' if found['minimal'] else 'a smaller set may be enough'}. "
            f"Cost: {cost['flops_share']:.2%} of the matrix work, {cost['casts']:+} casts. "
            f"{code(_option(step))} has the result as an option of the group precision."
        )
        yield ""
        yield from table(("node", "", "module"), [(code(n["node"]), n["op"], n["module"]) for n in found["nodes"]])


def since_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield the section on changes since the last run in the same directory; nothing if there was no such run."""
    found = report.get("since")
    if found is None:
        return
    yield f"## Changes since the run of {moment(found['started'])}"
    yield ""
    rows = [(text(c["what"]), text(c["before"]), text(c["after"])) for c in found["changes"]]
    yield from table(("", "before", "after"), rows) if rows else ["Nothing changed.", ""]


def _option(step: Mapping[str, Any]) -> str:
    """Return the path of the option file that the search wrote.

    In a joint build of several networks, the file name begins with the name of the network.
    """
    return f"artifacts/{step['part']}.precision.yaml" if step.get("part") else "artifacts/precision.yaml"


def _metrics_of(report: Mapping[str, Any], stage: str) -> Iterator[Mapping[str, Any]]:
    """Yield the metrics of each finished step of a stage."""
    yield from (step["metrics"] for step in report["steps"] if step["stage"] == stage and step.get("metrics"))


def profile_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield the section on the noise profile: the plot and the table of the noisiest nodes."""
    found = noise_profile.profile_of(report)
    if found is None:
        return
    yield "## Noise profile"
    yield ""
    yield f"![Signal-to-noise ratio after each node]({noise_profile.PLOT})"
    yield ""
    yield from table(noise_profile.HEAD, noise_profile.rows(found))


def voice_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield the section on the whole voice.

    It compares each form with float64, gives the loss that each lowered part causes, and names the metrics that decide.
    A form is a choice of artifacts for the parts of the voice, such as all in float32.
    """
    for metrics in voice.metrics_of(report):
        yield "## Whole voice"
        yield ""
        yield "Each form is compared with float64. The reference of a waveform is computed from the form's own f0."
        yield ""
        yield from table(voice.FORMS, voice.form_rows(metrics))
        if metrics["losses"]:
            yield from table(voice.LOSSES, voice.loss_rows(metrics))
        yield from (f"- {paragraph(line)}" for line in _voice_remarks(report, metrics))
        yield ""


def _voice_remarks(report: Mapping[str, Any], metrics: Mapping[str, Any]) -> Iterator[str]:
    yield from voice.judged_by(metrics)
    yield from (f"{note}." for note in metrics["notes"])
    yield from voice.engines_left_out(report)


def repetition_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield the section that compares repeated builds of the same configuration."""
    for metrics in _metrics_of(report, "repeat"):
        yield "## Repeated builds"
        yield ""
        yield from table(repetition.HEAD, repetition.rows(metrics))
        yield from table(repetition.STEPS, repetition.step_rows(metrics))


def benchmark_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield the benchmark section, with one table for each timed size."""
    for metrics in _metrics_of(report, "benchmark"):
        yield "## Benchmark"
        yield ""
        threads = metrics["threads"] or "all"
        yield f"Medians with their intervals, CPU threads: {threads}. docs/benchmarks.md describes the method."
        yield ""
        for case in metrics["cases"]:
            yield f"### {text(benchmark.where(case))}"
            yield ""
            yield from table(benchmark.HEAD, benchmark.rows(case))
            yield from (f"- {paragraph(line)}" for line in benchmark.remarks(case))
            yield ""
        yield from (f"- {paragraph(line)}" for line in benchmark.absences(metrics))
        yield ""


def warning_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield the sections with the warnings of the run and of each step, also of steps that an earlier run built."""
    yield from bullets("Warnings", report.get("warnings", ()))
    for step in report["steps"]:
        yield from bullets(f"Warnings of {step['label']}", warnings_of(step))


def deployment_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield the section on the deployment: what it changed, or why it failed."""
    done = report.get("deployment")
    if not done:
        return
    yield "## Deployment"
    yield ""
    if "failure" in done:
        yield f"**The deployment failed**: {paragraph(done['failure'])}"
        yield ""
        if done.get("hint"):
            yield paragraph(done["hint"])
            yield ""
        return
    if not done.get("changed", True):
        yield f"{code(done['dir'])} already had this deployment ({text(done['service'])}); nothing was changed."
    else:
        yield f"Deployed to {code(done['dir'])} ({text(done['service'])}), backup {done['backup']:04}."
    yield ""
    yield from (f"- {code(name)}" for name in done["files"])
    yield from (
        f"- {code(name)} was retired: this deployment replaces it, and the backup keeps it" for name in done["retired"]
    )
    yield from (
        f"- {code(name)} is not deployed, because deploy={text(done['service'])} has no place for it"
        for name in done.get("left", ())
    )
    yield from (f"- forced: {paragraph(reason)}" for reason in done["forced"])
    yield ""


def size_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield the section on the sizes of each profile, in steps of the axis and, if the rate is known, in seconds."""
    rows = [
        (str(number), symbol, *(frames(size, sizes["per_second"]) for size in sizes["sizes"]))
        for number, profile in enumerate(report.get("profiles", ()))
        for symbol, sizes in profile.items()
    ]
    if rows:
        yield "## Profiles"
        yield ""
        yield from table(("profile", "axis", "min", "opt", "max"), rows)


def kept_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield the section on the nodes that stay in float32, grouped by the reason."""
    groups = [one for step in report["steps"] for one in (step.get("metrics") or {}).get("kept_fp32") or ()]
    if groups:
        yield "## Nodes that stay in float32"
        yield ""
        rows = [(one["reason"], str(one["count"]), _nodes(one)) for one in groups]
        yield from table(("reason", "nodes", ""), rows)


def _nodes(group: Mapping[str, Any]) -> Markdown:
    names = [str(code(node["node"])) for node in group["nodes"]]
    more = [] if len(names) == group["count"] else [f"and {group['count'] - len(names)} more"]
    return Markdown(", ".join([*names, *more]))
