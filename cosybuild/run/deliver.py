"""The deliverables of a run, under the names the runtimes expect, each with a manifest beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cosybuild.core.artifact import Artifact
from cosybuild.core.record import Outcome
from cosybuild.core.store import Store

MANIFEST = ".manifest.json"


def delivered_slots(outcome: Outcome) -> dict[str, tuple[str, Artifact]]:
    """Slot -> (label of the step that made it, artifact): the last maker of each slot counts."""
    last: dict[str, tuple[str, Artifact]] = {}
    for record in outcome.records:
        for slot, artifact in record.outputs.items():
            last[slot] = (record.label, artifact)
    return last


def deliver(store: Store, outcome: Outcome, directory: Path, origin: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Lay the artifacts into `directory` and write their manifests; files of earlier runs there are removed.

    Args:
        origin: what every manifest says of where the artifact comes from (model, weights, configuration,
            versions, verification).

    Returns:
        One plain entry an artifact, for the report: slot, name, path (relative to the run directory),
        digest, size, made_by.
    """
    directory.mkdir(parents=True, exist_ok=True)
    entries, kept = [], set()
    for slot, (label, artifact) in delivered_slots(outcome).items():
        paths = store.lay_out(artifact, directory)
        entry = {
            "slot": slot,
            "name": paths[0].name,
            "path": f"{directory.name}/{paths[0].name}",
            "digest": artifact.digest,
            "size": artifact.size,
            "made_by": label,
            "files": {file.name: file.digest for file in artifact.files},
        }
        manifest = directory / (paths[0].name + MANIFEST)
        write_json(manifest, {"schema": 1, **entry, **origin})
        entries.append(entry)
        kept.update(paths, [manifest])
    for stray in set(directory.iterdir()) - kept:
        stray.unlink()
    return entries


def write_json(path: Path, plain: Any) -> None:
    """Write JSON so that a reader sees the old file or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(plain, indent=2, ensure_ascii=False, default=str) + "\n", encoding="utf-8")
    temporary.replace(path)
