"""A run made again from its own record, in another place, and held against it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosybuild.core.events import Sink
from cosybuild.run.pipeline import Invocation, run_build
from cosybuild.run.prepare import request_from_settings
from cosybuild.run.recorded import RecordedRun

SAME, EQUIVALENT, DIFFERENT, MISSING = "same", "equivalent", "different", "missing"


@dataclass(frozen=True)
class Comparison:
    """One artifact of the record beside the one that was made now.

    Attributes:
        name: the artifact's name.
        verdict: `same` bytes; `equivalent`: another file of the same make, for what is not built the
            same each time (an engine is tuned by timing); `different`; `missing`.
        old, new: digests; None where there is none.
    """

    name: str
    verdict: str
    old: str | None
    new: str | None


def replay(run: RecordedRun, directory: Path, console: Sink) -> tuple[dict[str, Any], list[Comparison]]:
    """Build everything of `run` anew, with nothing from any store, into `directory`.

    Nothing is deployed, timed or held to a recipe's digests: what came out is compared here.

    Returns:
        The new report, and one comparison for each artifact of either.

    Raises:
        ConfigurationError, ModelError: what the record names is not there any more.
    """
    settings = dataclasses.replace(
        run.settings, store=None, benchmark=None, deploy=None, dry_run=False, lock=False, hold_to=None, must_produce={}
    )
    overrides = tuple(run.report["overrides"])
    report = run_build(request_from_settings(settings), Invocation(overrides, directory), console)
    return report, list(_compare(run.report["artifacts"], report["artifacts"]))


def _compare(old: list[Mapping[str, Any]], new: list[Mapping[str, Any]]) -> Iterator[Comparison]:
    before, after = ({a["name"]: a for a in artifacts} for artifacts in (old, new))
    for name in sorted(before | after):
        was, now = before.get(name), after.get(name)
        old_digest = None if was is None else str(was["digest"])
        new_digest = None if now is None else str(now["digest"])
        if was is None or now is None:
            verdict = MISSING
        elif old_digest == new_digest:
            verdict = SAME
        elif not was["deterministic"] and was["traits"] == now["traits"]:
            verdict = EQUIVALENT
        else:
            verdict = DIFFERENT
        yield Comparison(name, verdict, old_digest, new_digest)
