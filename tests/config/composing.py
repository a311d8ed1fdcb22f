"""Composition of a configuration as on the command line, without a build."""

from __future__ import annotations

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from cosybuild.config.compose import config_directory, prepare
from cosybuild.config.parse import parse
from cosybuild.config.settings import Settings


def settings_of(*overrides: str) -> Settings:
    """Return the settings that these overrides compose to."""
    prepare()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        return parse(compose("config", overrides=list(overrides)))
