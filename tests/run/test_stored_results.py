"""The model and the options of a stored result are found through the results that it was made from."""

from __future__ import annotations

from pathlib import Path

from cosybuild.run.stored_results import Description, describe, made_at
from cosybuild.store.artifact import Artifact, StoredFile
from cosybuild.store.entry import Entry
from cosybuild.store.key import CacheKey


def entry(stage: str, parts: dict[str, str], output: str = "x", at: str = "2026-01-01T00:00:00+00:00") -> Entry:
    file = StoredFile("net", Path("net"), output * 64, 1)
    return Entry(CacheKey(stage, parts), {"graph": Artifact("graph", (file,))}, {}, {"at": at})


EXPORT = entry(
    "export",
    {
        "settings.family": '"cosyvoice2"',
        "settings.file": '"flow.decoder.estimator.fp32.onnx"',
        "settings.opset": "18",
        "settings.streaming": "false",
    },
    "a",
)


def test_a_later_step_has_the_facts_of_the_earlier_ones() -> None:
    lowered = entry("precision", {"input.graph": EXPORT.outputs["graph"].digest, "settings.target": '"fp16"'}, "b")
    engine = entry("engine", {"input.graph": lowered.outputs["graph"].digest, "settings.sm": "89"}, "c")
    told = describe([engine, lowered, EXPORT])
    assert told[EXPORT.key.digest] == Description("cosyvoice2 flow.decoder.estimator", "opset=18")
    assert told[engine.key.digest] == Description("cosyvoice2 flow.decoder.estimator", "opset=18 precision=fp16 sm=89")
    assert describe([engine])[engine.key.digest] == Description("", "sm=89")


def test_a_circle_in_a_damaged_store_ends() -> None:
    one = entry("simplify", {"input.graph": entry("x", {}, "b").outputs["graph"].digest}, "a")
    two = entry("simplify", {"input.graph": one.outputs["graph"].digest}, "b")
    assert set(describe([one, two])) == {one.key.digest, two.key.digest}


def test_a_time_that_is_none_is_absent() -> None:
    assert made_at(EXPORT) == 1767225600.0
    assert made_at(entry("export", {}, at="yesterday")) is None
