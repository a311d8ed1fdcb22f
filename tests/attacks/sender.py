"""A finished run of somebody else, bundled."""

from __future__ import annotations

from pathlib import Path

from tests.scenarios.commands import Place
from tests.scenarios.sweeping import EXACT


def make_bundle(directory: Path) -> Path:
    """Build a very small module in the directory and bundle the run."""
    place = Place(directory)
    place.cosybuild(*EXACT)
    place.cosybuild("bundle", place.runs()[0].name, "--into", "run.tar.gz")
    return directory / "run.tar.gz"
