"""Results in the XML format of JUnit, which CI systems show as tests. testmoapp/junitxml describes the format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from xml.etree import ElementTree

from cosybuild.printable import visible

Kind = Literal["passed", "failure", "error", "skipped"]


@dataclass(frozen=True)
class Case:
    """One test of a suite.

    Attributes:
        group: the attribute `classname`, by which CI systems group tests.
        name: the name of the test.
        kind: `failure` means that there is a wrong result, and `error` that there is no result.
        message: the reason for the kind; for a passed test, its output.
        type: a word for the kind of failure or error.
        seconds: the duration; None if it is not known.
        properties: pairs of a name and a value.
    """

    group: str
    name: str
    kind: Kind
    message: str = ""
    type: str = ""
    seconds: float | None = None
    properties: tuple[tuple[str, object], ...] = ()


def junit_text(name: str, cases: Sequence[Case]) -> str:
    """Return a JUnit document with one test suite.

    Args:
        name: the name of the suite.
        cases: its tests.
    """
    kinds = [case.kind for case in cases]
    counts = {"tests": len(kinds), "failures": kinds.count("failure"), "errors": kinds.count("error"),
              "skipped": kinds.count("skipped")}  # fmt: skip
    attributes = {"name": visible(name), **{key: str(count) for key, count in counts.items()}}
    root = ElementTree.Element("testsuites", attributes)
    suite = ElementTree.SubElement(root, "testsuite", attributes)
    for case in cases:
        _add(suite, case)
    ElementTree.indent(root)
    # With encoding="unicode", the XML declaration would name the locale's encoding.
    text: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return text.decode("utf-8") + "\n"


def _add(suite: ElementTree.Element, case: Case) -> None:
    # `visible` escapes control characters, which XML cannot contain and which names from other people can.
    attributes = {"classname": visible(case.group), "name": visible(case.name)}
    if case.seconds is not None:
        attributes["time"] = f"{case.seconds:.3f}"
    element = ElementTree.SubElement(suite, "testcase", attributes)
    told = visible(case.message)
    if case.properties:
        properties = ElementTree.SubElement(element, "properties")
        for name, value in case.properties:
            ElementTree.SubElement(properties, "property", {"name": name, "value": visible(str(value))})
    if case.kind == "passed":
        ElementTree.SubElement(element, "system-out").text = told
    elif case.kind == "skipped":
        ElementTree.SubElement(element, case.kind, {"message": told})
    else:
        ElementTree.SubElement(element, case.kind, {"message": told, "type": visible(case.type)}).text = told
