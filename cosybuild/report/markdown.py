"""report.md: the facts of a run for a person."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from cosybuild.printable import Markdown, code, paragraph, shell, text
from cosybuild.report import benchmark, contract, profile, repetition, verification
from cosybuild.report.figures import action, seconds, size
from cosybuild.report.highlights import highlight

_VERDICTS = {
    "ok": "Finished.",
    "pending": "Finished on this machine; some steps need another machine.",
    "failed": "**Failed.**",
    "unfinished": "**Not finished**: the run was killed.",
}


def markdown(report: Mapping[str, Any]) -> str:
    """Return the report as Markdown."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Mapping[str, Any]) -> Iterator[str]:
    model = report["model"]
    yield f"# {text(model['family'])}: {report['status']}"
    yield ""
    yield _VERDICTS[report["status"]]
    failure = report.get("failure")
    if failure:
        yield f"The run failed at {code(failure['step'])} ({text(failure['kind'])}): {paragraph(failure['message'])}"
        if failure.get("hint"):
            yield ""
            yield paragraph(failure["hint"])
        if report.get("capsule"):
            yield from _failure_lines(report["capsule"])
    yield ""
    yield from table(("", ""), _model_rows(report))
    yield "## Steps"
    yield ""
    yield from table(("step", "", "time", "peak memory", "", "why"), _step_rows(report))
    if report["artifacts"]:
        yield "## Artifacts"
        yield ""
        files = [(code(a["path"]), size(a["size"]), a["made_by"], code(a["digest"][:16])) for a in report["artifacts"]]
        yield from table(("file", "size", "made by", "sha256"), files)
    yield from _verification_lines(report)
    yield from _search_lines(report)
    yield from _profile_lines(report)
    yield from _repetition_lines(report)
    yield from _benchmark_lines(report)
    yield from _kept_rows(report)
    yield "## Environment"
    yield ""
    machine = report["environment"]["machine"]
    rows = [(name, str(value)) for name, value in {**machine, **report["environment"]["versions"]}.items()]
    yield from table(("", ""), rows)
    yield "## Configuration"
    yield ""
    yield f"Overrides: {code(' '.join(report['overrides']) or '(none)')}. The complete configuration is in"
    yield "[.hydra/config.yaml](.hydra/config.yaml) and, after validation, in [report.json](report.json)."


def _model_rows(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    model = report["model"]
    digest = model["weights_digest"]
    yield "model", f"{model['family']}{', streaming' if model['streaming'] else ''}"
    if model["origin"]:
        yield "read from", code(model["origin"])
    yield "weights", Markdown(text(model["weights"]) + (f" {code(digest[:16])}" if digest else ""))
    yield "inputs", ", ".join(f"{t['name']} {tuple(t['shape'])}" for t in model["inputs"])
    yield "outputs", ", ".join(f"{t['name']} {tuple(t['shape'])}" for t in model["outputs"])
    yield "verified", {True: "yes", False: "NO", None: "not requested"}[report["verified"]]
    yield "time", seconds(report["seconds"])
    yield "configuration", code(report["config_digest"][:16])
    for note in (*model["notes"], *weights_notes(report["steps"])):
        yield "note", note


def weights_notes(steps: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield what was understood and converted when the weights were read, e.g. the prefix of their names."""
    for step in steps:
        yield from (step.get("metrics") or {}).get("weights_notes", ())


def _step_rows(report: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for step in report["steps"]:
        built = step["action"] == "built"
        peak = step["peak_bytes"] if built else (step["made"] or {}).get("peak_bytes")
        spent = step["seconds"] if built else (step["made"] or {}).get("seconds")
        note = "" if built or spent is None else " (when built)"
        yield step["label"], action(step), seconds(spent) + note, size(peak), highlight(step), step["reason"]


def _verification_lines(report: Mapping[str, Any]) -> Iterator[str]:
    steps = report["steps"]
    for title, head, rows in (
        ("Error budget", verification.HOPS, list(verification.hop_rows(steps))),
        ("Solver runs", verification.RUNS, list(verification.run_rows(steps))),
        ("Contract", contract.HEAD, list(contract.rows(steps))),
    ):
        if rows:
            yield f"## {title}"
            yield ""
            yield from table(head, rows)
    absent = list(contract.absences(steps))
    if absent:
        yield from (f"- {line if isinstance(line, Markdown) else paragraph(line)}" for line in absent)
        yield ""
    if line := verification.coverage_line(steps):
        yield line
        yield ""


def _failure_lines(archive: Mapping[str, Any]) -> Iterator[str]:
    if archive["cause"]:
        yield ""
        yield f"Probable cause: **{text(archive['cause']['name'])}**. {text(archive['cause']['says'])}"
        yield f"Remedy: {text(archive['cause']['remedy'])}."
    if archive["cut"]:
        nodes = ", ".join(code(node) for node in archive["cut"]["nodes"][:4])
        module = text(archive["cut"]["module"] or "outermost")
        yield f"The smallest part of the graph that fails on its own: {nodes} (module {module})."
    yield ""
    command = code(f"python -m cosybuild replay {shell([archive['path']])}")
    yield f"{command} reproduces the failure on any machine ({size(archive['size'])})."


def _search_lines(report: Mapping[str, Any]) -> Iterator[str]:
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
            f"{'without any one of them a gate is missed' if found['minimal'] else 'not narrowed down to the end'}. "
            f"Cost: {cost['flops_share']:.2%} of the matrix work, {cost['casts']:+} casts. "
            "`artifacts/precision.yaml` has the result as an option of the group precision."
        )
        yield ""
        yield from table(("node", "", "module"), [(code(n["node"]), n["op"], n["module"]) for n in found["nodes"]])


def _profile_lines(report: Mapping[str, Any]) -> Iterator[str]:
    found = profile.profile_of(report)
    if found is None:
        return
    yield "## Noise profile"
    yield ""
    yield f"![Signal-to-noise ratio after each node]({profile.PLOT})"
    yield ""
    yield from table(profile.HEAD, profile.rows(found))


def _repetition_lines(report: Mapping[str, Any]) -> Iterator[str]:
    for step in report["steps"]:
        metrics = step.get("metrics") or {}
        if step["stage"] != "repeat" or not metrics:
            continue
        yield "## Repeated builds"
        yield ""
        yield from table(repetition.HEAD, repetition.rows(metrics))
        yield from table(repetition.STEPS, repetition.step_rows(metrics))


def _benchmark_lines(report: Mapping[str, Any]) -> Iterator[str]:
    for step in report["steps"]:
        metrics = step.get("metrics") or {}
        if step["stage"] != "benchmark" or not metrics:
            continue
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


def _kept_rows(report: Mapping[str, Any]) -> Iterator[str]:
    for step in report["steps"]:
        warnings = (step.get("metrics") or {}).get("warnings") or []
        if warnings:
            yield f"## Warnings of {text(step['label'])}"
            yield ""
            yield from (f"- {paragraph(warning)}" for warning in warnings)
            yield ""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a Markdown table, and an empty line. Cells are escaped unless they are `Markdown`."""
    yield "| " + " | ".join(map(_cell, head)) + " |"
    yield "|" + " --- |" * len(head)
    for row in rows:
        yield "| " + " | ".join(map(_cell, row)) + " |"
    yield ""


def _cell(value: object) -> str:
    # Escape `|` also in a code span: Markdown splits a table into cells before it reads them.
    return text(value).replace("|", "\\|")
