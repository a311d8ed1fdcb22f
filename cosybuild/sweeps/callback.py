"""The Hydra callback that creates the sweep directory in the calling process, before any job starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, read_write

from cosybuild.sweeps.history import keep_report
from cosybuild.sweeps.records import write_plan


@dataclass
class SweepInProgress:
    """The state of the sweep that the build command runs, filled in by the callback.

    Attributes:
        begun: called when the sweep begins, before any job does.
        directory: directory of the sweep; None until it begins, and always in a single run.
        dry: nothing is built and nothing is recorded.
    """

    begun: Callable[[], None]
    directory: Path | None = None
    dry: bool = False


in_progress: ContextVar[SweepInProgress | None] = ContextVar("in_progress", default=None)
"""The running command's state: Hydra creates the callback itself, so the command passes its state here."""


class BeginSweep(Callback):
    """A callback that plans the cells, and pins `hydra.sweep.dir` so that each job knows its sweep in any process."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Plan the sweep; Hydra calls this once, with the configuration that every job is composed from."""
        directory = Path(config.hydra.sweep.dir)
        with read_write(config):
            # Each job is composed again from the overrides; without this, each would give the sweep another name.
            config.hydra.overrides.hydra.append(f"hydra.sweep.dir='{directory}'")
        progress = in_progress.get()
        if progress is not None:
            progress.directory, progress.dry = directory, bool(config.dry_run)
            progress.begun()
        if not config.dry_run:
            sweeper = str(config.hydra.runtime.choices.get("hydra/sweeper"))
            words = [str(word) for word in config.hydra.overrides.task]
            keep_report(directory)
            write_plan(directory, sweeper=sweeper, words=words, cells=planned_cells(config))


def planned_cells(config: DictConfig) -> list[list[str]] | None:
    """Return the overrides of every cell that Hydra's basic sweeper runs; None for any other sweeper."""
    target = str(config.hydra.sweeper.get("_target_"))
    if not target.endswith(".BasicSweeper"):
        return None
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    params = OmegaConf.to_container(config.hydra.sweeper.params or OmegaConf.create({}))
    assert isinstance(params, dict)
    words = [f"{key!s}={value}" for key, value in params.items()] + list(config.hydra.overrides.task)
    loader = GlobalHydra.instance().config_loader()
    try:
        batches: Sequence[Sequence[Sequence[str]]] = BasicSweeper.split_arguments(
            OverridesParser.create(config_loader=loader).parse_overrides(words), max_batch_size=None
        )
    except HydraException:
        return None  # the sweeper raises the same error next, and its error is reported
    return [list(cell) for batch in batches for cell in batch]
