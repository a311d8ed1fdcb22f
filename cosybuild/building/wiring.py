"""The connections between stages by slots, derived from the stages' declarations alone."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from cosybuild.building.stage import Stage

SOURCE = "source"
"""The producer of slots that are filled before the first step."""


class PlanError(AssertionError):
    """The declarations of the stages contradict each other: a defect of the program, not a mistake of the user."""


@dataclass(frozen=True)
class Wire:
    """One input of one stage.

    Attributes:
        slot: the name under which the stage receives the input.
        origin: the slot that the producer fills; differs from `slot` if the stage needs `slot|origin` or `origin@step`.
        producer: the label of the step that makes it, or SOURCE.
    """

    slot: str
    origin: str
    producer: str


def wire(stages: Sequence[Stage[Any]], sources: Collection[str]) -> tuple[tuple[Wire, ...], ...]:
    """Return the inputs of each stage, in the order of its `needs`.

    Args:
        stages: the stages in the order in which they run; a later producer of a slot replaces an earlier one.
        sources: slots that are filled before the first stage.

    Raises:
        PlanError: a stage needs a slot that nothing before it makes, or two steps have one label.
    """
    makers = {**dict.fromkeys(sources, SOURCE), **{f"{slot}@{SOURCE}": SOURCE for slot in sources}}
    labels = {SOURCE}
    wired = []
    for stage in stages:
        if stage.label in labels:
            raise PlanError(f"two steps of the plan have the name '{stage.label}'")
        labels.add(stage.label)
        wired.append(tuple(_inputs(stage, makers)))
        makers.update(dict.fromkeys(stage.makes, stage.label))
        makers.update({f"{slot}@{stage.label}": stage.label for slot in stage.makes})
    return tuple(wired)


def _inputs(stage: Stage[Any], makers: dict[str, str]) -> list[Wire]:
    wires = []
    for need in stage.needs:
        optional = need.endswith("?")
        choices = need.removesuffix("?").split("|")
        origin = next((choice for choice in choices if choice in makers), None)
        if origin is not None:
            wires.append(Wire(choices[0], origin.partition("@")[0], makers[origin]))
        elif not optional:
            have = ", ".join(sorted(slot for slot in makers if "@" not in slot)) or "nothing"
            raise PlanError(f"the step '{stage.label}' needs '{need}', which no earlier step makes (available: {have})")
    return wires
