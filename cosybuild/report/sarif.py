"""Verdicts of `certify` in the format SARIF 2.1.0 (OASIS), which code hosts show as findings on files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import cosybuild
from cosybuild import figure
from cosybuild.printable import visible
from cosybuild.report.verdicts import message

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
VERSION = "2.1.0"

_RULES = {
    "right": "The file computes the network with the weights of the model directory.",
    "right for other weights": "The file computes the network with other weights.",
    "wrong": "The file computes something else than the network.",
    "not compared": "The file is a network that is published as ONNX only, or one that cosybuild does not compare.",
    "unmatched": "The file has the interface of no network of the model directory.",
    "unreadable": "The file cannot be read, loaded or run, or must not be.",
}
_KINDS = {"right": ("pass", "none"), "not compared": ("notApplicable", "none")}


def sarif_text(verdicts: Sequence[Mapping[str, Any]]) -> str:
    """Return a SARIF document with one result for each file, or for each known mistake that the file matches.

    Args:
        verdicts: the facts of each verdict, as `certify --json` prints them.
    """
    results = [result for verdict in verdicts for result in _results(verdict)]
    texts = {**_RULES, **{f"mistake: {k['name']}": k["remedy"] for v in verdicts for k in v["mistakes"]}}
    used = dict.fromkeys(result["ruleId"] for result in results)
    rules = [{"id": name, "shortDescription": {"text": texts[name]}} for name in used]
    driver = {"name": "cosybuild certify", "version": cosybuild.__version__, "rules": rules}
    document = {"$schema": SCHEMA, "version": VERSION, "runs": [{"tool": {"driver": driver}, "results": results}]}
    return figure.dumps(document, indent=2) + "\n"


def _results(verdict: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    kind, level = _KINDS.get(verdict["outcome"], ("fail", "error"))
    rules = [f"mistake: {known['name']}" for known in verdict["mistakes"]] or [verdict["outcome"]]
    place = {
        "physicalLocation": {"artifactLocation": {"uri": quote(str(verdict["file"]).encode("utf-8", "surrogatepass"))}}
    }
    for rule in rules:
        result: dict[str, Any] = {"ruleId": rule, "kind": kind, "level": level}
        result["message"] = {"text": visible(message(verdict))}
        result["locations"] = [place]
        if verdict["sha256"]:
            result["partialFingerprints"] = {"sha256/v1": verdict["sha256"]}
        yield result
