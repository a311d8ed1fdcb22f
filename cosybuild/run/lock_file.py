"""Lock files: the ingredients of one build (settings, weights, versions) and its digests, for later comparisons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosybuild.config.naming import relevant
from cosybuild.errors import DriftError
from cosybuild.store.key import flatten
from cosybuild.system.json_records import read_record, write_record
from cosybuild.system.typed_json import from_json

LOCK = "cosybuild.lock"
_VERSION = "version."


def write_lock(directory: Path, report: Mapping[str, Any]) -> Path:
    """Write the lock file of a finished run into its directory, and return the path of the file."""
    path = directory / LOCK
    write_record(path, "lock", {"ingredients": ingredients(report), "artifacts": _artifacts(report)})
    return path


@dataclass(frozen=True)
class _Content:
    ingredients: Mapping[str, str]
    artifacts: Mapping[str, str]


@dataclass(frozen=True)
class Lock:
    """The content of a lock file, read once, so that a later change of the file has no effect.

    Attributes:
        path: the lock file.
        ingredients: dotted name -> value of everything that determines the build: settings, weights and versions.
        artifacts: artifact name -> digest.
    """

    path: Path
    ingredients: Mapping[str, str]
    artifacts: Mapping[str, str]

    def check_ingredients(self, facts: Mapping[str, Any]) -> None:
        """Check before a build that the configuration, the weights and the versions are those of the lock file.

        A package that the lock file does not name is not checked, because earlier versions of cosybuild recorded fewer
        packages.

        Args:
            facts: the facts of the run, see `facts.Facts.base`.

        Raises:
            DriftError: lists every ingredient that differs.
        """
        named = self.ingredients
        now = {name: v for name, v in ingredients(facts).items() if not name.startswith(_VERSION) or name in named}
        _refuse(self.path, list(_differences(named, now)), "has other ingredients")

    def check_artifacts(self, report: Mapping[str, Any]) -> None:
        """Check after a build that every deterministic artifact has the digest in the lock file.

        Raises:
            DriftError: lists every artifact that differs.
        """
        _refuse(self.path, list(_differences(self.artifacts, _artifacts(report))), "has other artifacts")


def read_lock(path: Path) -> Lock:
    """Read a lock file.

    Raises:
        ConfigurationError: the file is missing or damaged.
    """
    return Lock(path, **vars(from_json(read_record(path, "lock"), _Content, str(path))))


def check_digests(expected: Mapping[str, str], report: Mapping[str, Any]) -> None:
    """Check after a build that the artifacts have the digests that the recipe states in `must_produce`.

    Args:
        expected: artifact name -> sha256, or the first digits of it.
        report: the report of the run.

    Raises:
        DriftError: lists every artifact that is missing or differs.
    """
    made = {artifact["name"]: artifact["digest"] for artifact in report["artifacts"]}
    drift = [
        f"{name}: {digest} -> {made.get(name, '(absent)')}"
        for name, digest in expected.items()
        if not made.get(name, "").startswith(digest) or not digest
    ]
    if drift:
        raise DriftError(
            "The artifacts differ from the recipe's must_produce:" + "".join(f"\n  {line}" for line in drift),
            hint="Next: `python -m cosybuild explain` lists the ingredients of the run; compare versions and weights.",
        )


def ingredients(facts: Mapping[str, Any]) -> dict[str, str]:
    """Return dotted name -> value of everything that determines a build: settings, model, weights and versions.

    Args:
        facts: the facts of a run, or its report.
    """
    model = facts["model"]
    found = dict(flatten("config", relevant(facts["config"])))
    # The path of the model differs between machines. Its content, which matters, is in `weights`.
    found.pop("config.model_dir", None)
    found.update(flatten("model", {"family": model["family"], "hyperparameters": model["hyperparameters"]}))
    found.update(flatten("model.code", model.get("code") or {}))
    found["weights"] = model["weights_digest"] or model["weights"]
    found.update({f"{_VERSION}{name}": version for name, version in facts["environment"]["versions"].items()})
    return found


def _artifacts(report: Mapping[str, Any]) -> dict[str, str]:
    return {a["name"]: a["digest"] for a in report["artifacts"] if a["deterministic"]}


def _differences(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[str]:
    for name in sorted(set(old) | set(new)):
        if old.get(name) != new.get(name):
            yield f"{name}: {old.get(name, '(absent)')} -> {new.get(name, '(absent)')}"


def _refuse(lock: Path, drift: list[str], what: str) -> None:
    if drift:
        lines = "".join(f"\n  {line}" for line in drift)
        raise DriftError(
            f"{lock} {what}:{lines}",
            hint="Next: restore the ingredients that differ, or build without hold_to and with lock=true to write a "
            "new lock file.",
        )
