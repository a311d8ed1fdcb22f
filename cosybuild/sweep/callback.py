"""Hydra's callback that gives a sweep its directory, in the process that was called, before any job starts."""

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

from cosybuild.sweep.records import write_plan


@dataclass
class SweepInProgress:
    """What the command learns of the sweep it runs.

    Attributes:
        directory: of the sweep; None until it begins, and for ever in a single run.
        dry: nothing is built and nothing is recorded.
        begun: called when the sweep begins, before any job does.
    """

    begun: Callable[[], None]
    directory: Path | None = None
    dry: bool = False


in_progress: ContextVar[SweepInProgress | None] = ContextVar("in_progress", default=None)
"""Hydra makes the callback itself, so this is how the command hands it something to fill in."""


class BeginSweep(Callback):
    """Plans the cells, and pins `hydra.sweep.dir` so that jobs in any process know the sweep they belong to."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Called once; `config` is what every job is composed from."""
        directory = Path(config.hydra.sweep.dir)
        with read_write(config):
            # Jobs are composed anew from the overrides. Without this each would name the sweep after itself.
            config.hydra.overrides.hydra.append(f"hydra.sweep.dir='{directory}'")
        progress = in_progress.get()
        if progress is not None:
            progress.directory, progress.dry = directory, bool(config.dry_run)
            progress.begun()
        if not config.dry_run:
            sweeper = str(config.hydra.runtime.choices.get("hydra/sweeper"))
            words = [str(word) for word in config.hydra.overrides.task]
            write_plan(directory, sweeper=sweeper, words=words, cells=planned_cells(config))


def planned_cells(config: DictConfig) -> list[list[str]] | None:
    """The overrides of every cell, as Hydra's basic sweeper multiplies them out; None for any other sweeper."""
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
        return None  # the sweeper is about to raise the same, where it is reported
    return [list(cell) for batch in batches for cell in batch]
