"""The request of a command: a configuration that Hydra composes is parsed, and its model is resolved, only once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig

from cosybuild.config.parse import checked_settings, plain_from_config
from cosybuild.config.settings import Settings
from cosybuild.request import Request
from cosybuild.run.prepare import request_from_settings


class Requests:
    """A cache of the last request, because Hydra asks for the run directory several times before it runs the job."""

    def __init__(self) -> None:
        self._last: tuple[Mapping[str, Any], Request] | None = None

    def of(self, config: DictConfig) -> Request:
        """Return the request of a composed configuration, which must not contain the `hydra` node.

        Raises:
            CosybuildError: the configuration cannot be built, or its model cannot be read.
            omegaconf.errors.OmegaConfBaseException: a mandatory value is missing or an interpolation fails.
        """
        plain = plain_from_config(config)
        if self._last is None or self._last[0] != plain:
            self._last = plain, request_from_settings(checked_settings(plain))
        return self._last[1]

    def settings(self, config: DictConfig) -> Settings:
        """Return the settings of the request for a composed configuration; raise the same errors as `of`."""
        return self.of(config).settings
