"""Verdicts in the XML form of JUnit, which CI systems show as tests (testmoapp/junitxml describes it)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

from cosybuild.printable import visible
from cosybuild.report.verdicts import message

_FAILED = ("wrong", "right for other weights")
_SKIPPED = "not compared"
_RIGHT = "right"
NAME = "cosybuild certify"


def junit_text(verdicts: Sequence[Mapping[str, Any]]) -> str:
    """Return one test suite with one test for each file.

    A refuted file is a failure, an unreadable or unmatched one an error; a file without a PyTorch module is skipped.
    """
    kinds = [_kind(verdict) for verdict in verdicts]
    counts = {"tests": len(kinds), "failures": kinds.count("failure"), "errors": kinds.count("error"),
              "skipped": kinds.count("skipped")}  # fmt: skip
    numbers = {name: str(count) for name, count in counts.items()}
    root = ElementTree.Element("testsuites", {"name": NAME, **numbers})
    suite = ElementTree.SubElement(root, "testsuite", {"name": NAME, **numbers})
    for verdict, kind in zip(verdicts, kinds, strict=True):
        _add(suite, verdict, kind)
    ElementTree.indent(root)
    # With encoding="unicode", the XML declaration would name the locale's encoding.
    text: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return text.decode("utf-8") + "\n"


def _add(suite: ElementTree.Element, verdict: Mapping[str, Any], kind: str) -> None:
    name = {"classname": str(verdict["component"] or "unknown"), "name": _text(verdict["file"])}
    case = ElementTree.SubElement(suite, "testcase", name)
    told = _text(message(verdict))
    properties = ElementTree.SubElement(case, "properties")
    for field in ("outcome", "sha256", "family", "dtype"):
        ElementTree.SubElement(properties, "property", {"name": field, "value": _text(verdict[field])})
    for known in verdict["mistakes"]:
        ElementTree.SubElement(properties, "property", {"name": "mistake", "value": _text(known["name"])})
    if kind == "passed":
        ElementTree.SubElement(case, "system-out").text = told
    elif kind == "skipped":
        ElementTree.SubElement(case, kind, {"message": told})
    else:
        ElementTree.SubElement(case, kind, {"message": told, "type": str(verdict["outcome"])}).text = told


def _kind(verdict: Mapping[str, Any]) -> str:
    outcome = verdict["outcome"]
    if outcome == _RIGHT:
        return "passed"
    if outcome == _SKIPPED:
        return "skipped"
    return "failure" if outcome in _FAILED else "error"


def _text(value: object) -> str:
    """Escape control characters, which XML cannot contain and which names from other people can."""
    return visible(str(value))
