"""report.md: the report of a run as Markdown for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from cosybuild.printable import Markdown, code, paragraph, shell, text
from cosybuild.report import contract, sections, verification
from cosybuild.report.figures import action, moment, seconds, size
from cosybuild.report.highlights import highlight
from cosybuild.report.markdown_parts import bullets, table
from cosybuild.report.remarks import checks, remarks, verdict

_VERDICTS = {
    "ok": "Finished.",
    "pending": "Finished on this machine; some steps need another machine.",
    "failed": "**Failed.**",
    "interrupted": "**Interrupted**; the same command continues from the finished steps.",
    "unfinished": "**Not finished**: the run was killed.",
}


def markdown(report: Mapping[str, Any]) -> str:
    """Return the whole report of a run as Markdown.

    Args:
        report: the content of report.json.
    """
    return "\n".join(_lines(report)) + "\n"


def brief(report: Mapping[str, Any]) -> str:
    """Return the first part of the report as Markdown: status, model, remarks, changes, warnings, steps, artifacts."""
    return "\n".join(_first_lines(report)) + "\n"


def failure_text(failure: Mapping[str, Any]) -> str:
    """Return as Markdown a failure that no step has caused.

    Args:
        failure: the fields `kind`, `message` and `hint`.
    """
    hint = f"\n\n{paragraph(failure['hint'])}" if failure["hint"] else ""
    return f"**Failed** ({text(failure['kind'])}): {paragraph(failure['message'])}{hint}\n"


def _first_lines(report: Mapping[str, Any]) -> Iterator[str]:
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
    yield from bullets("Remarks", remarks(report))
    yield from sections.since_lines(report)
    yield from sections.warning_lines(report)
    yield "## Steps"
    yield ""
    yield from table(("step", "", "time", "peak memory", "", "why"), _step_rows(report))
    if report["artifacts"]:
        yield "## Artifacts"
        yield ""
        verified = checks(report)
        files = [
            (code(a["path"]), size(a["size"]), a["made_by"], verified[a["path"]], code(a["digest"][:16]))
            for a in report["artifacts"]
        ]
        yield from table(("file", "size", "made by", "verified", "sha256"), files)


def _lines(report: Mapping[str, Any]) -> Iterator[str]:
    yield from _first_lines(report)
    yield from sections.deployment_lines(report)
    yield from sections.size_lines(report)
    yield from _verification_lines(report)
    yield from sections.voice_lines(report)
    yield from sections.kept_lines(report)
    yield from sections.search_lines(report)
    yield from sections.profile_lines(report)
    yield from sections.repetition_lines(report)
    yield from sections.benchmark_lines(report)
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
    for part, one in (model.get("parts") or {"": model}).items():
        for side in ("inputs", "outputs"):
            yield f"{part} {side}".lstrip(), ", ".join(f"{t['name']} {tuple(t['shape'])}" for t in one[side])
    if each := model.get("cache_bytes_per_frame"):
        steps = (model.get("solver") or {}).get("steps", 1)
        cap = f", at most {model['cache_frames']} frames" if model.get("cache_frames") else ""
        yield "caches", f"{size(each)} for a frame of history and a step, {size(each * steps)} for {steps} steps{cap}"
    yield "verified", verdict(report)
    yield "started", moment(report["started"])
    yield "time", seconds(report["seconds"])
    yield "configuration", code(report["config_digest"][:16])
    for note in (*model["notes"], *weights_notes(report["steps"])):
        yield "note", note


def weights_notes(steps: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the notes that steps wrote when they read the weights, e.g. about a prefix that was removed."""
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
    absent = [*contract.absences(steps), *verification.sizes_left_out(steps)]
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
