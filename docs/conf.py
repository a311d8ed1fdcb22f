"""Sphinx: Markdown pages (MyST) to HTML. `sphinx-build -W docs DIRECTORY`; scripts/check does that."""

from __future__ import annotations

project = "cosybuild"
author = "the cosybuild authors"
copyright = "the cosybuild authors"  # noqa: A001  # Sphinx reads it under this name

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = "cosybuild"
html_copy_source = False

nitpicky = True
myst_heading_anchors = 3  # links to #sections are checked
