"""The files of `certify` for other programs, with names that are hostile to their formats."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from cosybuild.certifying.verdict import Known, Outcome, Verdict
from cosybuild.report.junit import junit_text
from cosybuild.report.junit_cases import verdict_case
from cosybuild.report.sarif import sarif_text

NAMES = st.one_of(st.text(max_size=20), st.just("a\x00b]]>&\ud800.onnx"))
VERDICTS = st.builds(
    Verdict, NAMES, st.sampled_from(Outcome), reason=NAMES,
    mistakes=st.lists(st.builds(Known, NAMES, NAMES, NAMES), max_size=2).map(tuple),
)  # fmt: skip


@given(st.lists(VERDICTS, max_size=3))
def test_any_verdict_makes_files_that_parsers_read(verdicts: list[Verdict]) -> None:
    plain = [verdict.facts() for verdict in verdicts]
    root = ElementTree.fromstring(junit_text("certify", [verdict_case(one) for one in plain]).encode())  # noqa: S314  # made here
    cases = root.findall("testsuite/testcase")
    assert len(cases) == len(verdicts)
    assert sum(int(root.get(kind, "")) for kind in ("failures", "errors", "skipped")) == sum(
        verdict.outcome is not Outcome.right for verdict in verdicts
    )
    results = json.loads(sarif_text(plain).encode())["runs"][0]["results"]
    assert len(results) == sum(max(1, len(verdict.mistakes)) for verdict in verdicts)


def test_the_words_of_the_reports_are_the_outcomes() -> None:
    verdicts = [Verdict(str(Path("a")), outcome) for outcome in Outcome]
    rules = json.loads(sarif_text([verdict.facts() for verdict in verdicts]))["runs"][0]["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == [outcome.value for outcome in Outcome]
