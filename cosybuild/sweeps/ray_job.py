"""The build of one cell on a node of a Ray cluster, in a directory of that node."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from cosybuild.config.sweep_naming import cell_id
from cosybuild.report.sweep import CELLS, PLAN
from cosybuild.run.directory_lock import CLAIM
from cosybuild.system.files import write_atomic

ARTIFACTS = "artifacts"
"""The subdirectory of a run directory that is not sent back, because it is too large.

The artifacts stay in the store of the node and, if there is one, in the remote store.
"""


@dataclass(frozen=True)
class CellTask:
    """The data that a node needs to run one cell.

    Attributes:
        context: an argument of Hydra's `run_job`.
        config: an argument of Hydra's `run_job`: the composed configuration of the cell.
        task: an argument of Hydra's `run_job`: the task function.
        directory: the working directory. `~` and `$NAMES` in it are those of the node.
        sweep: the directory of the sweep, relative to `directory`.
        plan: the content of the sweep's plan.json; None in a dry run.
    """

    context: HydraContext
    config: DictConfig
    task: TaskFunction
    directory: str
    sweep: str
    plan: bytes | None


@dataclass(frozen=True)
class CellResult:
    """The data that a node sends back when a cell has ended.

    Attributes:
        returned: Hydra's result of the job.
        out: the text that the cell printed to stdout.
        err: the text that the cell printed to stderr.
        files: path relative to the working directory -> content, of the cell's record and of its run directory without
            artifacts.
    """

    returned: JobReturn
    out: str
    err: str
    files: dict[str, bytes]


def run_cell_task(cell: CellTask, singletons: Any) -> CellResult:
    """Run a cell on this node. A failure of the cell is not raised, but is a part of the result.

    Args:
        cell: the cell.
        singletons: the state of Hydra's singletons in the process that composed the cell.

    Raises:
        OSError: the working directory cannot be created or entered.
    """
    place = Path(os.path.expandvars(cell.directory)).expanduser()
    place.mkdir(parents=True, exist_ok=True)
    os.chdir(place)
    setup_globals()
    Singleton.set_state(singletons)
    HydraConfig.instance().set_config(cell.config)
    sweep = Path(cell.sweep)
    if cell.plan is not None:
        keep_file(sweep / PLAN, cell.plan)
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        returned = run_job(
            hydra_context=cell.context,
            task_function=cell.task,
            config=cell.config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
    words = [str(word) for word in cell.config.hydra.overrides.task]
    return CellResult(returned, out.getvalue(), err.getvalue(), dict(_records(sweep, words)))


def keep_file(path: Path, content: bytes) -> None:
    """Write a file atomically, unless it already has this content, as on nodes that share a directory.

    A reader sees the whole old file or the whole new one.
    """
    if path.is_file() and path.read_bytes() == content:
        return
    write_atomic(path, content, durable=False)


def _records(sweep: Path, words: list[str]) -> Iterator[tuple[str, bytes]]:
    cell = sweep / CELLS / f"{cell_id(words)}.json"
    if not cell.is_file():
        return  # a dry run
    yield cell.as_posix(), cell.read_bytes()
    run = Path(os.path.normpath(sweep / json.loads(cell.read_text(encoding="utf-8"))["run"]))
    for path in sorted(run.rglob("*")):
        if path.is_file() and path.name != CLAIM and ARTIFACTS not in path.relative_to(run).parts:
            yield path.as_posix(), path.read_bytes()
