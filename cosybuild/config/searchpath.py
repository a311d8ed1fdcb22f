"""The search path for installed configuration packages of other teams, found by their entry point."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import entry_points

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin

ENTRY_POINT = "cosybuild.conf"
"""The entry point group. Its value is the package with the groups' directories, e.g. `acme = "acme_cosy_conf.conf"`."""

OURS = frozenset({"hydra", "main", "schema"})
"""Providers that are part of the installation; any other provider on the search path comes from a user."""


class InstalledConfigurations(SearchPathPlugin):
    """A plugin that appends installed configuration packages to the search path, so that they replace no option."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the packages; Hydra calls this before it composes."""
        for team, module in configuration_packages():
            search_path.append(provider=team, path=f"pkg://{module}")


def configuration_packages() -> Iterator[tuple[str, str]]:
    """Yield (team, module of its configurations) for each installed package, sorted by team."""
    for point in sorted(entry_points(group=ENTRY_POINT), key=lambda point: point.name):
        yield point.name, point.value.replace(":", ".")


def register_search_path() -> None:
    """Register the plugin with Hydra; repeated calls have no further effect."""
    plugins = Plugins.instance()
    if InstalledConfigurations not in plugins.discover(SearchPathPlugin):
        plugins.register(InstalledConfigurations)
