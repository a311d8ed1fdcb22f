"""The composition of overrides to settings, as for a build, for commands that do not build."""

from __future__ import annotations

from collections.abc import Sequence

from hydra import compose

from cosybuild.config.catalogue import searching
from cosybuild.config.parse import parse
from cosybuild.config.quoting import with_quotes
from cosybuild.config.scalars import with_lists
from cosybuild.config.settings import Settings


def settings_from_words(words: Sequence[str]) -> Settings:
    """Return the settings that overrides `key=value` compose to.

    Raises:
        ConfigurationError: the settings contradict each other.
        hydra.errors.HydraException, omegaconf.errors.OmegaConfBaseException: a word is no valid override.
    """
    with searching():
        return parse(compose("config", overrides=[with_lists(with_quotes(word)) for word in words]))
