"""The extension of Hydra's search path by installed packages of configurations, found by their entry point."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import entry_points

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin

ENTRY_POINT = "cosybuild.conf"
"""The entry point group of such packages.

The value of an entry point is the package with the groups' directories, e.g. `acme = "acme_cosy_conf.conf"`.
"""

OURS = frozenset({"hydra", "main", "schema"})
"""The providers on the search path that belong to the installation. Any other provider comes from a user."""


class InstalledConfigurations(SearchPathPlugin):
    """Hydra plugin that appends the installed configuration packages to the search path.

    Hydra uses the first option with a name, so an appended package cannot replace an option of cosybuild.
    """

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the packages to the search path. Hydra calls this method before it composes."""
        for team, module in configuration_packages():
            search_path.append(provider=team, path=f"pkg://{module}")


def configuration_packages() -> Iterator[tuple[str, str]]:
    """Yield (team, name of the package with its configurations) for each installed package, sorted by team."""
    for point in sorted(entry_points(group=ENTRY_POINT), key=lambda point: point.name):
        yield point.name, point.value.replace(":", ".")


def register_search_path() -> None:
    """Register the plugin with Hydra, unless it is registered already."""
    plugins = Plugins.instance()
    if InstalledConfigurations not in plugins.discover(SearchPathPlugin):
        plugins.register(InstalledConfigurations)
