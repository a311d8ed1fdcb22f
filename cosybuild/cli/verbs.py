"""The verbs beside building; each is a module with `main(arguments) -> exit code`."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

VERBS: dict[str, str] = {}
"""Verb -> what it does, in one line. The module is `cosybuild.cli.<verb>`."""


def run_verb(verb: str, arguments: Sequence[str]) -> int:
    """Run one verb with the words that follow it."""
    from cosybuild.cli.failure import guarded

    module = importlib.import_module(f"cosybuild.cli.{verb}")
    return guarded(lambda: int(module.main(list(arguments))))
