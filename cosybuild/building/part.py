"""The steps of one part of a joint build, such as one network of a voice.

They have the same keys as in a build of that part alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cosybuild.building.stage import RunContext, Stage
from cosybuild.store.result import StageResult
from cosybuild.system.environment import Environment


class PartStage(Stage[Any]):
    """A stage of one part of a joint build. It uses only the slots, sources and request of that part.

    The label of the step contains the part's name.

    Args:
        part: the name of the part.
        stage: the stage as in a build of the part alone.
        request: the request of a build of the part alone. The stage receives it in place of the joint request.
    """

    def __init__(self, part: str, stage: Stage[Any], request: Any) -> None:
        self._part, self._stage, self._request = part, stage, request

    @property
    def part(self) -> str:
        return self._part

    @property
    def name(self) -> str:
        return self._stage.name

    @property
    def step(self) -> str:
        return self._stage.label

    @property
    def label(self) -> str:
        return f"{self._part} {self.step}"

    @property
    def does(self) -> str:
        return self._stage.does

    @property
    def version(self) -> int:
        return self._stage.version

    @property
    def needs(self) -> tuple[str, ...]:
        return self._stage.needs

    @property
    def makes(self) -> tuple[str, ...]:
        return self._stage.makes

    @property
    def cacheable(self) -> bool:
        return self._stage.cacheable

    @property
    def deterministic(self) -> bool:
        return self._stage.deterministic

    @property
    def device(self) -> str:
        return self._stage.device

    def settings(self, request: Any) -> Mapping[str, Any]:
        return self._stage.settings(self._request)

    def environment(self, environment: Environment) -> Mapping[str, str]:
        return self._stage.environment(environment)

    def missing(self, request: Any, environment: Environment) -> tuple[str, ...]:
        return self._stage.missing(self._request, environment)

    def run(self, context: RunContext) -> StageResult:
        return self._stage.run(replace(context, request=self._request))
