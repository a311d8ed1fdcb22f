"""The model card of a run: front matter for hubs, files, figures, limits; names of other people stay text."""

from __future__ import annotations

import hashlib
import json

import yaml

from cosybuild.report.model_card import model_card
from tests.scenarios.commands import Place


def test_the_card_states_files_figures_limits_and_licence(built_place: Place) -> None:
    card = built_place.cosybuild("card", "--licence", "Apache-2.0").out
    _, front, body = card.split("---\n", 2)
    assert yaml.safe_load(front) == {
        "license": "apache-2.0",
        "pipeline_tag": "text-to-speech",
        "library_name": "onnx",
        "tags": ["cosybuild", "cosyvoice2", "text-to-speech"],
    }
    (run,) = (built_place.directory / "outputs" / "runs").iterdir()
    (graph,) = (run / "artifacts").glob("*.onnx")
    assert hashlib.sha256(graph.read_bytes()).hexdigest() in body
    assert "| verify: one call against PyTorch, the worst case" in body
    assert "the quality of its speech was not measured" in body
    assert "Sizes outside this profile were not verified: seq_len 4 to 12." in body
    assert "The weights have the licence `Apache-2.0`." in body


def test_a_card_without_a_licence_says_so(built_place: Place) -> None:
    card = built_place.cosybuild("card").out
    assert "license:" not in card
    assert "The licence of the weights is not stated here" in card


def test_hostile_names_stay_text(built_place: Place) -> None:
    (run,) = (built_place.directory / "outputs" / "runs").iterdir()
    report = json.loads((run / "report.json").read_text())
    report["model"]["name"] = "a](http://x) <img src=x onerror=y>\n---\nlicense: mit\u202e"
    report["model"]["family"] = 'b"\n---\n# c'
    card = model_card(report, 'mit"\nx: y')
    front = yaml.safe_load(card.split("\n---\n", 1)[0].removeprefix("---\n"))
    assert set(front) == {"license", "library_name", "tags"}
    assert card.count("<img") == card.count("\\<img") == 1, "it is escaped"
    assert "\u202e" not in card
    assert card.count("\n---\n") == 1
