"""Every attempt is refused with the expected message, and none of its code is executed."""

from __future__ import annotations

import pytest

from tests.attacks.attempts import ATTEMPTS
from tests.attacks.ground import Attempt, Ground


@pytest.mark.parametrize(
    "attempt",
    [
        pytest.param(one, id=one.name, marks=pytest.mark.attack(one.kind, f"the answer: {one.refusal}"))
        for one in ATTEMPTS
    ],
)
def test_the_attempt_fails(attempt: Attempt, ground: Ground) -> None:
    assert attempt.result(ground) == "held"
