"""The Hydra callback that makes the directory and the plan of a sweep in the calling process, before any job begins."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, RangeSweep
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, read_write
from omegaconf.errors import OmegaConfBaseException

from cosybuild.config.compose import explain
from cosybuild.errors import ConfigurationError, CosybuildError, StoreError
from cosybuild.sweeps.history import keep_report
from cosybuild.sweeps.records import remove_cells, write_plan
from cosybuild.system.files import cause_of

MOST_CELLS = 10_000
"""The largest number of cells of a sweep. Hydra would list more cells for minutes before it runs the first one."""


class SweepRefused(BaseException):
    """Raised if the sweep cannot begin. The attribute `error` has the error for the user.

    Hydra turns any `Exception` of a callback into a warning, so this class derives from BaseException.
    """

    def __init__(self, error: CosybuildError) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass
class SweepInProgress:
    """The state of the sweep that the build command runs. The Hydra callback fills it in.

    Attributes:
        begun: called when the sweep begins, before any job begins.
        directory: the directory of the sweep; None until the sweep begins, and always None in a single run.
        dry: True for a dry run, in which nothing is built or recorded.
    """

    begun: Callable[[], None]
    directory: Path | None = None
    dry: bool = False


in_progress: ContextVar[SweepInProgress | None] = ContextVar("in_progress", default=None)
"""The state of the running command. Hydra creates the callback itself, so the command passes its state here."""


class BeginSweep(Callback):
    """Hydra callback that plans the cells when a sweep begins.

    It also fixes `hydra.sweep.dir`, so that each job knows the directory of its sweep in any process.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Plan the sweep. Hydra calls this once, with the configuration from which every job is composed.

        Raises:
            SweepRefused: the sweep cannot begin.
        """
        try:
            _begin(config)
        except CosybuildError as error:
            raise SweepRefused(error) from error
        except OSError as error:
            where = error.filename or config.hydra.sweep.dir
            refused = StoreError(
                f"The directory of the sweep cannot be made: {where}: {cause_of(error)}.",
                hint="Next: give hydra.sweep.dir a directory in which you can write, or leave it out.",
            )
            raise SweepRefused(refused) from error


def _begin(config: DictConfig) -> None:
    """Plan the sweep and write its plan.

    Raises:
        ConfigurationError: the sweep has no cells or too many, or a cell cannot be composed.
        OSError: the directory of the sweep cannot be made.
    """
    cells = planned_cells(config)
    _check_composable(config, cells or [])
    directory = Path(config.hydra.sweep.dir)
    with read_write(config):
        # Each job is composed again from its own overrides. Without this override, it would compute another name of
        # the sweep.
        config.hydra.overrides.hydra.append(f"hydra.sweep.dir='{directory}'")
    progress = in_progress.get()
    if progress is not None:
        progress.begun()
    if not config.dry_run:
        sweeper = str(config.hydra.runtime.choices.get("hydra/sweeper"))
        words = [str(word) for word in config.hydra.overrides.task]
        keep_report(directory)
        # A cell that this sweep does not reach must not show the result of an earlier one.
        remove_cells(directory)
        write_plan(directory, sweeper=sweeper, words=words, cells=cells)
    if progress is not None:
        # Set the directory last, because the command reports every sweep that has one.
        progress.directory, progress.dry = directory, bool(config.dry_run)


def planned_cells(config: DictConfig) -> list[list[str]] | None:
    """Return the overrides of every cell that Hydra's basic sweeper runs.

    Return None for any other sweeper, and for overrides that the sweeper will refuse.

    Raises:
        ConfigurationError: there are no cells, or more than MOST_CELLS.
    """
    target = str(config.hydra.sweeper.get("_target_"))
    if not target.endswith(".BasicSweeper"):
        return None
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    params = OmegaConf.to_container(config.hydra.sweeper.params or OmegaConf.create({}))
    assert isinstance(params, dict)
    words = [f"{key!s}={value}" for key, value in params.items()] + list(config.hydra.overrides.task)
    loader = GlobalHydra.instance().config_loader()
    try:
        parsed = OverridesParser.create(config_loader=loader).parse_overrides(words)
        _check_number(parsed)
        batches: Sequence[Sequence[Sequence[str]]] = BasicSweeper.split_arguments(parsed, max_batch_size=None)
    except (HydraException, ValueError):
        return None  # the sweeper raises the same error next, and its error is reported
    return [list(cell) for batch in batches for cell in batch]


def _check_composable(config: DictConfig, cells: Sequence[Sequence[str]]) -> None:
    """Refuse an option or a setting that does not exist.

    Hydra composes all cells before it runs the first one, and an error would then end a sweep whose directory exists.
    Here each value is composed once, because each combination of them would take as long as Hydra's own composition.

    Raises:
        ConfigurationError: names the first cell with the value.
    """
    loader = GlobalHydra.instance().config_loader()
    composed: set[str] = set()
    for number, cell in enumerate(cells, start=1):
        if composed.issuperset(cell):
            continue
        composed.update(cell)
        try:
            loader.load_sweep_config(config, list(cell))
        except (HydraException, OmegaConfBaseException) as error:
            known = explain(error)
            if not isinstance(known, ConfigurationError):
                return  # Hydra raises the same error next
            shown = [word for word in cell if not all(word in other for other in cells)] or cell
            raise ConfigurationError(
                f"Cell {number} of {len(cells)} ({' '.join(shown)}) cannot be composed. {known.message}",
                hint=known.hint,
            ) from error


def _check_number(overrides: Iterable[Override]) -> None:
    sizes = {override.input_line: _values(override) for override in overrides if override.is_discrete_sweep()}
    cells = math.prod(sizes.values())
    if cells > MOST_CELLS:
        named = ", ".join(f"{word} has {size:,}" for word, size in sizes.items() if size > 1)
        raise ConfigurationError(
            f"The sweep has {cells:,} cells, and at most {MOST_CELLS:,} are run: {named}.",
            hint="Next: give fewer values, or divide the sweep.",
        )
    if not cells:
        word = next(word for word, size in sizes.items() if not size)
        raise ConfigurationError(
            f"The sweep has no cells, because {word} has no values.", hint="Next: give values, e.g. range(1,4)."
        )


def _values(override: Override) -> int | float:
    """Return the number of values that a sweep gives one setting. A range is counted without listing it."""
    value = override.value()
    if not isinstance(value, RangeSweep):
        return sum(1 for _ in override.sweep_string_iterator())
    if not value.step or value.start is None or value.stop is None:
        return 1  # Hydra refuses it
    steps = (value.stop - value.start) / value.step
    return max(0, math.ceil(steps)) if math.isfinite(steps) else math.inf
