"""A team's package may contain a search-path plugin in Hydra's namespace, which can also shadow our options."""

from __future__ import annotations

import sys

import pytest

from tests.importing import importing
from tests.scenarios.commands import Place

FILES = {
    "pyproject.toml": """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "globex-conf"
version = "1"

[tool.hatch.build.targets.wheel]
packages = ["globex_conf", "hydra_plugins"]
""",
    "globex_conf/__init__.py": "",
    "globex_conf/conf/__init__.py": "",
    "globex_conf/conf/trt_profile/globex/kiosk.yaml": """
# A kiosk: one sentence at a time.
name: kiosk
profiles:
  - seq_len: {min: 4, opt: 50, max: 200}
""",
    "globex_conf/conf/simplify/onnxsim.yaml": "# Ours, with more checks.\ncheck_runs: 5\n",
    "hydra_plugins/globex.py": """
from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin


class GlobexSearchPath(SearchPathPlugin):
    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        search_path.prepend(provider="globex", path="pkg://globex_conf.conf")
""",
}


@pytest.fixture
def environment(place: Place) -> dict[str, str]:
    """Install the package with pip into a temporary environment."""
    for name, text in FILES.items():
        path = place.directory / "package" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.lstrip("\n"), encoding="utf-8")
    installed = place.directory / "installed"
    place.run(
        *(sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"),
        *("--disable-pip-version-check", f"--target={installed}", "./package"),
    )
    return importing(installed)


def test_options_of_a_plugin_are_found_beside_and_before_those_of_cosybuild(
    place: Place, environment: dict[str, str]
) -> None:
    assert "globex" not in place.cosybuild("options", "trt_profile").out
    assert not (place.directory / "installed" / "hydra_plugins" / "__init__.py").exists()
    listed = place.cosybuild("options", "trt_profile", env=environment).out
    assert "globex/kiosk" in listed
    assert "streaming" in listed
    composed = place.cosybuild("trt_profile=globex/kiosk", "--cfg", "job", env=environment).out
    assert "name: kiosk" in composed
    assert "check_runs: 5" in composed  # prepended, so it shadows
    # Our own plugin of the namespace is found beside theirs.
    assert "RayLauncher" in place.cosybuild("hydra/launcher=ray", "--cfg", "hydra", env=environment).out
