"""The check of a stage's result against the stage's declaration. A result that fails it is not published."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cosybuild import figure
from cosybuild.building.stage import Stage
from cosybuild.store.result import StageResult


class StageDefect(AssertionError):
    """Raised if the result of a stage contradicts its declaration. This is a defect of the program, not of the user."""


def check_result(stage: Stage[Any], result: StageResult, workdir: Path) -> None:
    """Check that a stage has made the outputs that it declares, and check their files and the metrics.

    Raises:
        StageDefect: an output is missing or was not declared; a file does not exist, is empty, is outside `workdir` or
            has the name of another file of the same output; the metrics are not plain JSON data.
    """
    made, declared = set(result.outputs), set(stage.makes)
    if made != declared:
        raise StageDefect(f"the step '{stage.label}' declares the outputs {sorted(declared)} but made {sorted(made)}")
    home = workdir.resolve()
    for slot, files in result.outputs.items():
        where = f"the output '{slot}' of the step '{stage.label}'"
        if not files:
            raise StageDefect(f"{where} has no file")
        if len({file.name for file in files}) != len(files):
            raise StageDefect(f"{where} has two files with the same name: {[file.name for file in files]}")
        for file in files:
            if not (home / file).resolve().is_relative_to(home):
                raise StageDefect(f"{where} is outside its working directory: {file}")
            if not file.is_file():
                raise StageDefect(f"{where} was not written: {file.name}")
            if file.stat().st_size == 0:
                raise StageDefect(f"{where} is empty: {file.name} has 0 bytes")
    try:
        figure.dumps(result.metrics)
    except (TypeError, ValueError) as error:
        raise StageDefect(f"the metrics of the step '{stage.label}' are not plain JSON data: {error}") from error
