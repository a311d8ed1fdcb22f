"""A pytest plugin for scripts/attack: it runs the tests with the marker `attack` and writes a line of JSON for each."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

HELD = "held"
KINDS = {
    "execute": "to have code executed that came as data",
    "stale": "to have an old or wrong result taken for the current one",
    "forge": "to have something taken that nobody built, verified or signed",
    "read or write": "to have files read or written outside their place",
    "fill or wait": "to fill the disk or the memory, or to wait for ever",
    "malformed": "to have a damaged file end in an internal error",
    "deceive": "to have a name or a text imitate something else on a terminal or a page",
    "interrupt": "to leave half a change by a kill, a power cut or a full disk",
}
"""Kind -> the aim of its attempts."""


@dataclass(frozen=True)
class Row:
    """One attempt.

    Attributes:
        kind: the aim of the attempt, the marker's first argument.
        attempt: the name of the test in words.
        expected: the outcome that is required, the marker's second argument.
        test: the file of the test.
        result: `held`, `failed`, or `skipped` with the reason; empty if it was not tried.
    """

    kind: str
    attempt: str
    expected: str
    test: str
    result: str = ""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that scripts/attack gives."""
    parser.addoption("--attack-rows", type=Path, help="the file to write")
    parser.addoption("--attack-kind", help="run only the attempts of this kind")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the attempts of the chosen kind, and give each report the facts of its row."""
    kind = config.getoption("--attack-kind")
    kept, left = [], []
    for item in items:
        mark = item.get_closest_marker("attack")
        if mark is None or kind not in (None, mark.args[0]):
            left.append(item)
            continue
        if mark.args[0] not in KINDS:
            raise pytest.UsageError(
                f"{item.nodeid} is of the unknown kind {mark.args[0]!r}; there are {', '.join(KINDS)}"
            )
        row = Row(mark.args[0], in_words(item.name), mark.args[1], item.path.relative_to(config.rootpath).as_posix())
        item.user_properties.append(("attack", asdict(row)))
        kept.append(item)
    config.hook.pytest_deselected(items=left)
    items[:] = kept


def pytest_collection_finish(session: pytest.Session) -> None:
    """Write the rows without results if nothing is run."""
    if session.config.option.collectonly:
        for item in session.items:
            _write(session.config, dict(item.user_properties)["attack"])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Write the row of a test that ended; with several workers each writes its own rows."""
    report = yield
    row = dict(item.user_properties)["attack"]
    if report.when == "call" or not report.passed:
        _write(item.config, {**row, "result": _result(report)})
    return report


def rows_of(path: Path) -> list[Row]:
    """Return the rows of the file that the plugin wrote, ordered by kind and test; a failure outweighs a success."""
    found: dict[tuple[str, str, str], Row] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        row = Row(**json.loads(line))
        key = row.kind, row.test, row.attempt
        if key not in found or found[key].result == HELD:
            found[key] = row
    return [found[key] for key in sorted(found)]


def in_words(name: str) -> str:
    """Return the name of a test in words, with its parameter after a colon."""
    words, _, parameter = name.removeprefix("test_").partition("[")
    return re.sub("_+", " ", words) + (f": {parameter.removesuffix(']')}" if parameter else "")


def _result(report: pytest.TestReport) -> str:
    if report.skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        return f"skipped: {str(reason).removeprefix('Skipped: ')}"
    return HELD if report.passed else "FAILED"


def _write(config: pytest.Config, row: Mapping[str, str]) -> None:
    path = config.getoption("--attack-rows")
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
