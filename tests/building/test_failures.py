"""The failure in the record for each error that can end a step."""

from __future__ import annotations

import pytest

from cosybuild.building.failures import failure_from_error
from cosybuild.building.record import Failure
from cosybuild.errors import DEFECT, INTERRUPTED, ExportError

GO_ON = "Next: run the same command again; it keeps the finished steps"


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (ExportError("no opset 99", hint="Next: opset=18"), ("export", "no opset 99", "Next: opset=18", 4)),
        (KeyboardInterrupt(), ("interrupted", "interrupted", GO_ON, INTERRUPTED)),
        (KeyError("graph"), ("defect", "KeyError: 'graph'", None, DEFECT)),
        (SystemExit(3), ("defect", "SystemExit: 3", None, DEFECT)),
    ],
)
def test_an_error_is_recorded_with_its_kind_its_hint_and_the_exit_code(
    error: BaseException, failure: tuple[str, str, str | None, int]
) -> None:
    assert failure_from_error("simplify", error) == Failure("simplify", *failure)
