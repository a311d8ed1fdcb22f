"""The files from which the HTML pages are made: templates, the stylesheet that they share, and scripts."""

from __future__ import annotations

from functools import cache
from importlib import resources


@cache
def asset(name: str) -> str:
    """Return the text of the file with this name in the directory `page/`."""
    return (resources.files("cosybuild.report") / "page" / name).read_text(encoding="utf-8")
