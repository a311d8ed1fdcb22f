"""The connections between stages by slots, derived only from the declarations of the stages."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cosybuild.building.stage import Stage

SOURCE = "source"
"""The name that stands for the producer of slots that are filled before the first step."""


class PlanError(AssertionError):
    """Raised if the declarations of stages contradict each other. This is a defect of the program, not of the user."""


@dataclass(frozen=True)
class Wire:
    """One input of one stage.

    Attributes:
        slot: the name under which the stage receives the input.
        origin: the slot that the producer fills. It differs from `slot` if the stage needs `slot|origin` or
            `origin@step`.
        producer: the label of the step that makes the input, or SOURCE.
    """

    slot: str
    origin: str
    producer: str


def wire(stages: Sequence[Stage[Any]], sources: Collection[str]) -> tuple[tuple[Wire, ...], ...]:
    """Return the inputs of each stage, in the order of its `needs`.

    A stage of a part uses only the slots of its part. A stage of the whole build uses such a slot as `part.slot`.

    Args:
        stages: the stages in the order in which they run. A later producer of a slot replaces an earlier one.
        sources: the slots that are filled before the first stage; a slot of a part is named `part.slot`.

    Raises:
        PlanError: a stage needs a slot that nothing before it makes, or two steps have the same label.
    """
    makers: dict[str, _Maker] = {}
    for slot in sources:
        makers[slot] = makers[f"{slot}@{SOURCE}"] = _Maker(SOURCE, slot)
    labels = {SOURCE}
    wired = []
    for stage in stages:
        if stage.label in labels:
            raise PlanError(f"two steps of the plan have the name '{stage.label}'")
        labels.add(stage.label)
        wired.append(tuple(_inputs(stage, makers)))
        for slot in stage.makes:
            name = in_part(stage.part, slot)
            makers[name] = makers[f"{name}@{stage.step}"] = _Maker(stage.label, slot)
    return tuple(wired)


def in_part(part: str, slot: str) -> str:
    """Return the name that a slot of a part has in the whole build: `part.slot`, or `slot` if `part` is empty."""
    return f"{part}.{slot}" if part else slot


@dataclass(frozen=True)
class _Maker:
    """The step that fills a slot, and the name of the slot within that step."""

    label: str
    slot: str


def _inputs(stage: Stage[Any], makers: Mapping[str, _Maker]) -> list[Wire]:
    wires = []
    for need in stage.needs:
        optional = need.endswith("?")
        choices = need.removesuffix("?").split("|")
        named = [in_part(stage.part, choice) for choice in choices]
        found = next((makers[name] for name in named if name in makers), None)
        if found is not None:
            wires.append(Wire(choices[0], found.slot, found.label))
        elif not optional:
            have = ", ".join(sorted(slot for slot in makers if "@" not in slot)) or "nothing"
            raise PlanError(f"the step '{stage.label}' needs '{need}', which no earlier step makes (available: {have})")
    return wires
