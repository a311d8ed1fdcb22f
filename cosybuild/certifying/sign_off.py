"""Write the manifest of a certified file. It states the model, the proof, and that cosybuild did not build the file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cosybuild
from cosybuild.certifying.match import match, requests_of
from cosybuild.certifying.task import Task
from cosybuild.certifying.verdict import Outcome, Verdict
from cosybuild.errors import ConfigurationError
from cosybuild.manifest import file_fact, manifest_path, manifest_text, read_manifest
from cosybuild.onnxgraph.external import check_external_data
from cosybuild.onnxgraph.header import read_header
from cosybuild.run.artifact_manifest import interface_of
from cosybuild.run.facts import model_facts
from cosybuild.run.prepare import open_store, sources_of
from cosybuild.system.files import write_atomic

CERTIFIED = "certified"
"""The field of a manifest that states the proof. Manifests that a build wrote do not have this field."""


def sign_off(task: Task, verdict: Verdict) -> Path:
    """Write the manifest beside a file whose verdict is `right`, atomically, and return the manifest's path.

    Raises:
        ConfigurationError: the file already has the manifest of a build or one that cannot be read, or the file changed
            after it was compared.
    """
    assert verdict.outcome is Outcome.right, verdict.outcome
    path = task.path
    _check_replaceable(path)
    header = read_header(path)
    found = match(path.name, header, task.settings)
    request = requests_of(found)[bool(verdict.streaming)]
    with open_store(task.settings.store, lambda _: None) as store:
        model = model_facts(request, sources_of(request, store))
    main = file_fact(path)
    if main["sha256"] != verdict.sha256:
        raise ConfigurationError(
            f"{path} changed while it was compared, so no manifest is written.", hint="Next: run certify again."
        )
    facts = {
        "cosybuild": cosybuild.__version__,
        "model": model,
        "interface": interface_of(header),
        "verified": True,
        "verified_by": ["certify"],
        "pending": [],
        CERTIFIED: {
            "statement": "This file was compared with the model; cosybuild did not build it.",
            **{name: value for name, value in verdict.facts().items() if name not in ("file", "mistakes", "reason")},
        },
    }
    companions = [file_fact(path.parent / name) for name in check_external_data(path)]
    text = manifest_text(main, companions, facts)
    write_atomic(manifest_path(path), text.encode("utf-8", "backslashreplace"))
    return manifest_path(path)


def _check_replaceable(path: Path) -> None:
    try:
        manifest = read_manifest(path)
    except ValueError as error:
        raise ConfigurationError(
            f"{manifest_path(path)} exists and cannot be read, so it is not replaced: {error}.",
            hint="Next: move it away, and run certify again.",
        ) from error
    if manifest is not None and CERTIFIED not in manifest:
        raise ConfigurationError(
            f"{path} has the manifest of a build, which certify does not replace.",
            hint=f"Next: python -m cosybuild check {path}",
        )


def remove_manifest(task: Task, verdict: Verdict) -> Verdict:
    """Remove the manifest that an earlier `certify` wrote beside a file whose verdict is not `right`.

    A manifest that a build wrote is kept.

    Returns:
        The verdict, with a note if a manifest was removed.
    """
    path = manifest_path(task.path)
    try:
        manifest = read_manifest(task.path)
    except ValueError:
        return verdict
    if manifest is None or CERTIFIED not in manifest:
        return verdict
    path.unlink(missing_ok=True)
    return replace(verdict, notes=(*verdict.notes, f"{path.name}, which an earlier certify wrote, was removed."))
