"""The model card of a run, in the Markdown format that model hubs show: files, figures, limits, origin and licence."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cosybuild.figure import measured
from cosybuild.printable import Markdown, code, shell, text
from cosybuild.report.card_facts import figures_of, limits_of, task_of
from cosybuild.report.figures import moment, size
from cosybuild.report.markdown_parts import bullets, table
from cosybuild.report.remarks import checks


def model_card(report: Mapping[str, Any], licence: str | None) -> str:
    """Return the model card of a run as Markdown.

    Args:
        report: the content of report.json.
        licence: the licence of the weights as an SPDX identifier; None if it is not known.
    """
    return "\n".join(_lines(report, licence)) + "\n"


def _lines(report: Mapping[str, Any], licence: str | None) -> Iterator[str]:
    model, verified = report["model"], checks(report)
    tasks = {task for task in (task_of(report, artifact) for artifact in report["artifacts"]) if task}
    yield from _front_matter(model, sorted(tasks), licence)
    yield f"# {text(model['name'] or model['family'])}"
    yield ""
    yield f"Built by cosybuild {text(report['cosybuild'])} on {text(moment(report['started']))}."
    yield ""
    yield "## Files"
    yield ""
    rows = [
        (code(a["name"]), size(a["size"]), text(verified[a["path"]]), code(a["digest"])) for a in report["artifacts"]
    ]
    yield from table(("file", "size", "verified", "sha256"), rows)
    yield from _figure_lines(report)
    limits = [limit for a in report["artifacts"] for limit in limits_of(report, a, verified[a["path"]])]
    yield from bullets("Limits", list(dict.fromkeys(limits)))
    yield "## Origin"
    yield ""
    yield from table(("", ""), _origin(report))
    yield "## Licence"
    yield ""
    if licence is None:
        yield "The licence of the weights is not stated here; it is that of the model that the weights come from."
    else:
        yield f"The weights have the licence {code(licence)}."


def _front_matter(model: Mapping[str, Any], tasks: Sequence[str], licence: str | None) -> Iterator[str]:
    """Yield the YAML block that hubs read. Texts are written as JSON, which is also valid YAML."""
    yield "---"
    if licence is not None:
        yield f"license: {json.dumps(licence.lower())}"
    if tasks:
        yield f"pipeline_tag: {tasks[0]}"
    yield "library_name: onnx"
    yield f"tags: {json.dumps(['cosybuild', str(model['family']), *tasks])}"
    yield "---"
    yield ""


def _figure_lines(report: Mapping[str, Any]) -> Iterator[str]:
    rows = []
    for artifact in report["artifacts"]:
        said: dict[str, list[str]] = {}
        for figure in figures_of(report, artifact):
            value = measured(figure.values, figure.name)
            if value is not None:
                said.setdefault(figure.of, []).append(f"{figure.name} {value:.4g}")
        rows += [(code(artifact["name"]), text(of), text(", ".join(figures))) for of, figures in said.items()]
    if rows:
        yield "## Figures"
        yield ""
        yield from table(("file", "comparison", "figures"), rows)


def _origin(report: Mapping[str, Any]) -> list[tuple[str, Markdown | str]]:
    weights = [str(part) for part in (report["model"]["weights"], report["model"]["weights_digest"]) if part]
    versions = ", ".join(f"{name} {version}" for name, version in report["environment"]["versions"].items())
    return [
        ("weights", code(" ".join(weights))),
        ("configuration", code(report["config_digest"])),
        ("command", code(shell(["python", "-m", "cosybuild", *report["overrides"]]))),
        ("versions", text(versions)),
    ]
