"""The plot of a profile is a standalone SVG of the curve, and the table has the same values as text."""

from __future__ import annotations

import math
from typing import Any
from xml.etree import ElementTree

import pytest

from cosybuild.report import repetition
from cosybuild.report.noise_profile import level, plot, profile_of, rows

SVG = "{http://www.w3.org/2000/svg}"


def parsed(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text)  # noqa: S314  # it is our own


def facts(curve: list[Any]) -> dict[str, Any]:
    node = {"node": "/a/<b>", "op": "Mul", "module": "a", "fresh_db": 30.0, "snr_db": "-Infinity"}
    return {"case": "seq_len=4 <&>", "curve": curve, "blocks": [[0, "down<0>"], [2, "up.0"]], "nodes": [node]}


def test_the_curve_is_interrupted_and_marked_at_values_that_are_not_finite() -> None:
    drawn = parsed(plot(facts(["Infinity", 60.0, 50.0, "-Infinity", 40.0, "Infinity", 30.0])))
    pieces = [line.attrib["points"].split() for line in drawn.iter(f"{SVG}polyline")]
    assert [len(piece) for piece in pieces] == [2, 1, 1]
    assert len(list(drawn.iter(f"{SVG}circle"))) == 1
    heights = [float(point.split(",")[1]) for piece in pieces for point in piece]
    assert heights == sorted(heights), "a smaller ratio stands lower"
    assert "down<0>" in [text.text for text in drawn.iter(f"{SVG}text")]


def test_a_curve_without_loss_is_an_empty_plot() -> None:
    drawn = parsed(plot(facts(["Infinity", "Infinity"])))
    assert not list(drawn.iter(f"{SVG}polyline"))


@pytest.mark.parametrize(("ratio", "said"), [(math.inf, "none"), (-math.inf, "not finite"), (52.34, "52.3 dB")])
def test_levels_are_written_with_their_unit(ratio: float, said: str) -> None:
    assert level(ratio) == said


def test_the_profile_comes_from_the_step_or_from_the_failure_archive() -> None:
    asked = facts([1.0])
    step = {"stage": "profile", "metrics": asked}
    assert profile_of({"steps": [step], "capsule": None}) is asked
    assert profile_of({"steps": [], "capsule": {"profile": asked}}) is asked
    assert profile_of({"steps": []}) is None
    assert rows(asked) == [("`/a/<b>`", "Mul", "30.0 dB", "not finite")]


def test_repetitions_are_described_in_words() -> None:
    same = {"name": "a.onnx", "same_bytes": True}
    other = {
        "name": "b.plan",
        "same_bytes": False,
        "distinct": 2,
        "digests": ["1", "2", "1"],
        "sizes": [1000, 2000, 1000],
    }
    run = {
        "outputs": {"y": {"max_abs": "inf"}, "z": {"max_abs": 0.0}},
        "latency": {"medians": [1e-3, 2e-3], "against_first": [{"ratio": 2.0, "outcome": "slower"}]},
    }
    metrics = {
        "repeats": 2,
        "artifacts": [same, other | run, other | {"not_run": "no GPU here"}],
        "seconds": {"export": [1.0, 3.0]},
    }
    first, second, third = repetition.rows(metrics)
    assert first == ("`a.onnx`", "the same", "the same", "the same")
    assert second[1:] == ("2 contents in 3 builds, 1 kB to 2 kB", "differences up to inf", "1.00 ms to 2.00 ms: slower")
    assert third[2:] == ("not run: no GPU here", "-")
    assert list(repetition.step_rows(metrics)) == [("export", "1.0 s", "3.0 s")]
    assert repetition.headline(metrics) == "2 builds more, with other bytes in b.plan, b.plan"
    assert repetition.headline({**metrics, "artifacts": [same]}) == "2 builds more, all with the same bytes"


def test_a_profile_of_an_older_record_is_drawn_equally() -> None:
    older = facts([None, 60.0, 50.0, -999.0, 40.0, None, 30.0])
    assert plot(older) == plot(facts(["Infinity", 60.0, 50.0, "-Infinity", 40.0, "Infinity", 30.0]))
    older["nodes"][0] |= {"fresh_db": None, "snr_db": -999.0}
    assert rows(older) == [("`/a/<b>`", "Mul", "none", "not finite")]
