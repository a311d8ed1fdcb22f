"""`simplify`: reduction of the graph to fewer nodes that compute the same function."""

from __future__ import annotations

from dataclasses import dataclass

from cosybuild.config.groups.field import setting


@dataclass(frozen=True)
class SimplifySettings:
    """Settings of onnxsim."""

    rounds: int = setting(
        1, "At most this many calls; each runs to its own fixed point, and a call that changes nothing is the last."
    )
    check_runs: int = setting(
        1, "Random inputs on which the result must equal the graph before it; 0 turns the check off."
    )
