"""Each known cause is recognised by its symptoms, and other failures have no cause."""

from __future__ import annotations

from typing import Any

import pytest

from cosybuild.run.failure.causes import CAUSES, Signs, match


def signs(stage: str = "verify", family: str = "cosyvoice2", **facts: Any) -> Signs:
    return Signs(stage, family, "", facts.get("note", {}), facts.get("cut", {}), facts.get("largest", 65504.0))


def lowered(op: str, module: str = "ff", *, finite: bool = True, largest: float = 1.0) -> Signs:
    return signs("verify_lowered", cut={"op": op, "module": module, "finite": finite, "reference_max": largest})


def broken(name: str) -> Signs:
    return signs(note={"properties": [{"property": name}]})


@pytest.mark.parametrize(
    ("found", "name"),
    [
        (lowered("Mul", finite=False, largest=1e5), "overflow"),
        (lowered("Mul", finite=False, largest=10.0), "infinite constant"),
        (lowered("Sin"), "phase"),
        (lowered("Mul", "time_mlp"), "phase"),
        (lowered("Sub"), "cancellation"),
        (lowered("ReduceMean"), "statistics"),
        (lowered("Softmax"), "large scores"),
        (broken("axes"), "frozen axis"),
        (broken("zero_row"), "leaking guidance row"),
        (broken("masked_frames"), "mask"),
        (broken("future_chunks"), "chunk mask"),
        (signs(note={"snr_db": 3.0}), "other weights or exchanged inputs"),
        (signs(family="cosyvoice3", note={"snr_db": 30.0}), "rotary variant"),
        (signs(note={"snr_db": 30.0}), "another variant"),
        (signs(family="cosyvoice3", note={"snr_db": 80.0}), "another variant"),
    ],
)
def test_symptoms_of_a_known_cause_are_recognised(found: Signs, name: str) -> None:
    cause = match(found)
    assert cause is not None
    assert cause.name == name
    assert cause.says.endswith(".")
    assert not cause.remedy.endswith(".")


@pytest.mark.parametrize(
    "found",
    [
        lowered("Relu"),
        signs("verify_lowered"),
        signs(),
        signs(note={"snr_db": "nan"}),
        signs(note={"snr_db": 130.0}),
        signs("verify_lowered", note={"snr_db": 30.0}),
    ],
)
def test_other_symptoms_match_no_cause(found: Signs) -> None:
    assert match(found) is None


def test_every_cause_has_a_name_of_its_own() -> None:
    assert len({cause.name for cause in CAUSES}) == len(CAUSES)
