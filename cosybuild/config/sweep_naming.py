"""The names of sweep directories. A name is made of the varied settings and a digest, not of the time."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cosybuild.errors import CosybuildError

SWEEPS = Path("outputs/sweeps")

_NOT_OF_THE_SWEEP = ("store", "benchmark", "deploy", "dry_run", "lock", "hold_to", "sweep", "objective", "must_produce")
_LONGEST = 60


def register_sweep_resolvers(run_dir: Callable[[DictConfig], str]) -> None:
    """Register `${cosybuild.sweep_dir:}` and `${cosybuild.sweep_subdir:}` with OmegaConf.

    Args:
        run_dir: called with a job's configuration; returns its run directory. It raises CosybuildError for a
            configuration that cannot be built.
    """

    def sweep_dir(*, _root_: DictConfig) -> str:
        if _root_.dry_run:  # Hydra writes multirun.yaml there, and a dry run leaves nothing behind
            return str(dry_directory())
        hydra = _root_.hydra
        params = OmegaConf.to_container(hydra.sweeper.get("params") or OmegaConf.create({}))
        words = [str(word) for word in hydra.overrides.task]
        assert isinstance(params, dict)
        return str(SWEEPS / sweep_name(words, {str(k): str(v) for k, v in params.items()}, hydra.runtime.choices))

    def sweep_subdir(*, _root_: DictConfig) -> str:
        # An absolute path replaces hydra.sweep.dir when Hydra joins the two, so that a configuration has one
        # run directory, whether it is built alone or in a sweep.
        try:
            return os.path.abspath(run_dir(_root_))  # noqa: PTH100  # resolve() would follow links
        except (CosybuildError, OmegaConfBaseException):
            # The job raises the same error again; there it fails this cell and not the whole sweep.
            failing = cell_id([str(word) for word in _root_.hydra.overrides.task])
            return os.path.abspath(Path(_root_.hydra.sweep.dir) / "refused" / failing)  # noqa: PTH100  # resolve() follows links

    OmegaConf.register_new_resolver("cosybuild.sweep_dir", sweep_dir, replace=True)
    OmegaConf.register_new_resolver("cosybuild.sweep_subdir", sweep_subdir, replace=True)


def dry_directory() -> Path:
    """Return the directory for the files that Hydra writes even in a dry run. The caller must remove it."""
    return Path(tempfile.gettempdir()) / f"cosybuild-dry-{os.getpid()}"


def cell_id(overrides: Sequence[str]) -> str:
    """Return the id of one cell of a sweep, a digest of its overrides. Their order does not matter."""
    return hashlib.sha256("\n".join(sorted(overrides)).encode()).hexdigest()[:10]


def sweep_name(words: Sequence[str], params: Mapping[str, str], choices: Mapping[str, Any]) -> str:
    """Return the name of a sweep, e.g. `cosyvoice2_tiny-matrix-5d20aa91` or `export-trt-1f0c9a3b`.

    Args:
        words: the overrides of the command line, including those with several values.
        params: Hydra's `sweeper.params`.
        choices: group -> option that Hydra has chosen.
    """
    said = {key: value for key, _, value in (word.partition("=") for word in words)}
    together = {**params, **said}
    relevant = {key: value for key, value in together.items() if _of_the_sweep(key)}
    named = str(choices.get("sweep") or "none")
    sweeper = str(choices.get("hydra/sweeper") or "basic")
    content = {"overrides": relevant, "sweeper": sweeper}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]
    model = PurePath(relevant.get("model_dir", "").rstrip("/")).name
    varied = [key.rpartition(".")[2] for key, value in relevant.items() if _is_varied(value)]
    what = [named] if named != "none" else varied
    parts = [model, *([] if sweeper == "basic" else [sweeper]), *what]
    readable = "-".join(re.sub(r"[^A-Za-z0-9._]+", "_", part).strip("_") for part in parts if part)
    return f"{readable[:_LONGEST].rstrip('-') or 'sweep'}-{digest}"


def _is_varied(value: str) -> bool:
    """Return True for a value with several choices: `a,b`, `choice(a,b)` or `range(1,4)`.

    A single list or mapping such as `[a,b]` or `{x: 1, y: 2}` has no choices.
    """
    inside = re.sub(r"'[^']*'|\"[^\"]*\"", "", value)
    while (shorter := re.sub(r"[\[{][^\[\]{}]*[\]}]", "", inside)) != inside:
        inside = shorter
    return "," in inside or "(" in inside


def _of_the_sweep(key: str) -> bool:
    return key.lstrip("+~").partition(".")[0] not in _NOT_OF_THE_SWEEP
