"""Configurations of other teams: packages that are installed, found by their entry point."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import entry_points

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin

ENTRY_POINT = "cosybuild.conf"
"""Its value is the package that holds the groups' directories, e.g. `acme = "acme_cosy_conf.conf"`."""

OURS = frozenset({"hydra", "main", "schema"})
"""Providers that are part of the installation; whatever else is on the search path comes from a user."""


class InstalledConfigurations(SearchPathPlugin):
    """Puts every installed configuration package at the end of the search path, so that it adds and never shadows."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Called by Hydra before it composes."""
        for team, module in configuration_packages():
            search_path.append(provider=team, path=f"pkg://{module}")


def configuration_packages() -> Iterator[tuple[str, str]]:
    """(team, module of its configurations) of what is installed, in the order of the teams' names."""
    for point in sorted(entry_points(group=ENTRY_POINT), key=lambda point: point.name):
        yield point.name, point.value.replace(":", ".")


def register_search_path() -> None:
    """Let Hydra call the plugin; several times is as good as once."""
    plugins = Plugins.instance()
    if InstalledConfigurations not in plugins.discover(SearchPathPlugin):
        plugins.register(InstalledConfigurations)
