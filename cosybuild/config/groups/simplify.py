"""`simplify`: the reduction of the graph to fewer nodes that compute the same function."""

from __future__ import annotations

from dataclasses import dataclass

from cosybuild.config.groups.field import setting


@dataclass(frozen=True)
class SimplifySettings:
    """Settings of onnxsim."""

    rounds: int = setting(1, "The largest number of calls of onnxsim; a call that changes nothing is the last.")
    check_runs: int = setting(
        1, "The number of random inputs on which the simplified graph must equal the original; 0: no check."
    )
