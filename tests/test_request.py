"""A request reads each of its files once."""

from __future__ import annotations

import pickle
from pathlib import Path

from cosybuild.verification.scope import cases_of, ingredients
from tests.stages.building import tiny


def test_keys_and_cases_follow_from_the_same_lengths(tmp_path: Path) -> None:
    """The key is made before the step runs; the file may change between both."""
    lengths = tmp_path / "lengths.txt"
    lengths.write_text("7\n")
    asked = tiny("cosyvoice2", verify={"lengths": str(lengths)})
    served = ingredients(asked)["served"]
    assert served == [7]
    cases = cases_of(asked)
    lengths.write_text("9\n")
    assert ingredients(asked)["served"] == served
    assert cases_of(asked) == cases
    elsewhere = pickle.loads(pickle.dumps(asked))  # noqa: S301 - made here
    assert ingredients(elsewhere)["served"] == served, "a process of its own is given what was read"
