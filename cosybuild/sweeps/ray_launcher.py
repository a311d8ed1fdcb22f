"""The launcher that runs cells on a Ray cluster and writes their records in the caller's working directory."""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from cosybuild.config.launchers import RaySettings
from cosybuild.errors import BuildError, MissingRequirement
from cosybuild.lazy import require
from cosybuild.report.sweep import PLAN
from cosybuild.sweeps.ray_job import CellResult, CellTask, keep_file, run_cell_task
from cosybuild.sweeps.write import write_sweep

_PATIENCE = 10.0
"""The longest wait, in seconds, for a connection to the head node of the cluster."""


def launch(
    settings: RaySettings,
    context: HydraContext,
    task: TaskFunction,
    config: DictConfig,
    overrides: Sequence[Sequence[str]],
    first: int,
) -> list[JobReturn]:
    """Run one job for each list of overrides, and write the records of each job when it ends.

    Args:
        settings: the settings of the launcher.
        context: an argument of Hydra's launcher.
        task: an argument of Hydra's launcher: the task function.
        config: an argument of Hydra's launcher: the configuration of the sweep.
        overrides: the overrides of each job.
        first: the number of the first job.

    Returns:
        Hydra's results of the jobs, in the order of `overrides`.

    Raises:
        MissingRequirement: ray is not installed, or there is no cluster at the address.
        BuildError: the processes of some jobs were lost too often; all other jobs have ended.
    """
    ray = require("ray", "hydra/launcher=ray")
    setup_globals()
    _connect(ray, settings)
    asked = {"num_cpus": settings.num_cpus, "num_gpus": settings.num_gpus, "resources": dict(settings.resources)}
    remote = ray.remote(**asked, max_retries=settings.max_retries)(run_cell_task)
    sweep = Path(config.hydra.sweep.dir)
    state = ray.put(Singleton.get_state())
    numbers = {}
    for index, words in enumerate(overrides):
        job = context.config_loader.load_sweep_config(config, list(words))
        with open_dict(job):
            job.hydra.job.num = first + index
            job.hydra.job.id = f"{job.hydra.job.name}_{first + index}"
        plan = (sweep / PLAN).read_bytes() if (sweep / PLAN).is_file() else None
        task_of_cell = CellTask(context, job, task, settings.directory or str(Path.cwd()), str(sweep), plan)
        numbers[remote.remote(task_of_cell, state)] = index
    returned, lost = _collect(ray, numbers, sweep)
    if lost:
        error = lost[min(lost)]
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise BuildError(
            f"The cluster lost {len(lost)} of {len(overrides)} cells, the first of them "
            f"'{' '.join(overrides[min(lost)])}': {reason}",
            hint="Next: see Ray's logs, ask for fewer cells at a time (hydra.launcher.num_cpus), and run the same "
            "command again; what was finished is kept.",
        ) from error
    return [returned[index] for index in range(len(overrides))]


def _connect(ray: Any, settings: RaySettings) -> None:
    """Join the cluster, unless this process has done so already. A sweeper that searches calls this several times."""
    if ray.is_initialized():
        return
    if settings.address is not None:
        _check_address(settings.address)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    try:
        ray.init(address=settings.address, **{**quiet, **settings.init})
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        raise _no_cluster(settings.address, str(error).strip().partition("\n")[0] or type(error).__name__) from error


def _check_address(address: str) -> None:
    """Raise an error if nothing listens at HOST:PORT. Ray itself would try for minutes."""
    found = re.fullmatch(r"\[?([^/\]]+)\]?:(\d+)", address)
    if found is None:  # auto, local, ray://HOST:PORT
        return
    try:
        socket.create_connection((found[1], int(found[2])), timeout=_PATIENCE).close()
    except OSError as error:
        raise _no_cluster(address, str(error)) from error


def _no_cluster(address: str | None, reason: str) -> MissingRequirement:
    place = f"at hydra.launcher.address={address}" if address else "for this sweep"
    return MissingRequirement(
        f"There is no Ray cluster {place} that can be used: {reason}",
        hint="Next: `ray start --head` on one machine and `ray start --address=HOST:PORT` on the others, or leave "
        "the address out for a cluster on this machine.",
    )


def _collect(
    ray: Any, numbers: Mapping[Any, int], sweep: Path
) -> tuple[dict[int, JobReturn], dict[int, BaseException]]:
    """Wait for all jobs, and write the records of each when it ends.

    Returns:
        Two mappings: the number of a job -> its result, and the number of a lost job -> its error.
    """
    returned: dict[int, JobReturn] = {}
    lost: dict[int, BaseException] = {}
    waiting = list(numbers)
    while waiting:
        (done,), waiting = ray.wait(waiting, num_returns=1)
        try:
            ended: CellResult = ray.get(done)
        except ray.exceptions.RayError as error:
            lost[numbers[done]] = error
            continue
        for name, content in ended.files.items():
            keep_file(_inside(name), content)
        if (sweep / PLAN).is_file():
            write_sweep(sweep)
        sys.stderr.write(ended.err)
        sys.stdout.write(ended.out)
        sys.stdout.flush()
        returned[numbers[done]] = ended.returned
    return returned, lost


def _inside(name: str) -> Path:
    """Return the path, below the working directory, of a file that a node sent back."""
    path = Path(name)
    assert not path.is_absolute(), name
    assert ".." not in path.parts, name
    return path
