"""The composition of overrides to settings, as a build does it, for commands that do not build."""

from __future__ import annotations

from collections.abc import Sequence

from hydra import compose

from cosybuild.config.catalogue import open_loader
from cosybuild.config.parse import parse
from cosybuild.config.quoting import add_quotes
from cosybuild.config.scalars import add_brackets
from cosybuild.config.settings import Settings


def settings_from_words(words: Sequence[str]) -> Settings:
    """Return the settings that overrides of the form `key=value` compose to.

    Raises:
        ConfigurationError: the settings contradict each other.
        hydra.errors.HydraException, omegaconf.errors.OmegaConfBaseException: a word is not a valid override.
    """
    with open_loader():
        return parse(compose("config", overrides=[add_brackets(add_quotes(word)) for word in words]))
