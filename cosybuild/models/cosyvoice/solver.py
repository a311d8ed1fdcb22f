"""The flow-matching solver around an estimator: Euler steps with classifier-free guidance."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from cosybuild.models.subject import Solver


class Estimator(Protocol):
    """A callable that returns the velocity of a guidance pair; `families.estimator_spec` describes its inputs."""

    def __call__(self, x: Tensor, mask: Tensor, mu: Tensor, t: Tensor, spks: Tensor, cond: Tensor, /) -> Tensor: ...


def time_grid(solver: Solver, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return the solver's points in time, from 0 to 1: (steps + 1,), computed in `dtype`.

    Cosine: t = 1 - cos(pi/2 u), u linear.
    """
    grid = torch.linspace(0, 1, solver.steps + 1, dtype=dtype)
    return 1 - torch.cos(grid * 0.5 * math.pi) if solver.schedule == "cosine" else grid


def _ignore(step: int, state: Tensor) -> None:
    """Ignore the state, for callers that need the result only."""


@torch.no_grad()
def solve(
    estimator: Estimator,
    noise: Tensor,
    mu: Tensor,
    spks: Tensor,
    cond: Tensor,
    mask: Tensor,
    solver: Solver,
    observe: Callable[[int, Tensor], object] = _ignore,
    points: Tensor | None = None,
) -> Tensor:
    """Integrate the velocity from noise to mel.

    Each step calls the estimator once, with guidance pairs: the first half of the batch is conditional, in the second
    half mu, spks and cond are zero. The length of a step is the next grid point minus the sum of the earlier steps.

    Args:
        estimator: called with a batch of 2 * B rows.
        noise, mu, cond: (B, mel, T).
        spks: (B, speaker).
        mask: (B, 1, T).
        solver: steps, schedule and guidance.
        observe: called with the number of each step, from 1, and the state after it.
        points: the points in time; None for those of `time_grid`, rounded to float32.

    Returns:
        (B, mel, T).
    """
    grid = (time_grid(solver) if points is None else points).to(noise)
    x, time, batch = noise, grid[0], noise.shape[0]
    mask, mu, spks, cond = torch.cat((mask, mask)), _unguided(mu), _unguided(spks), _unguided(cond)
    for index, following in enumerate(grid[1:], start=1):
        velocity = estimator(torch.cat((x, x)), mask, mu, time.repeat(2 * batch), spks, cond)
        conditional, unconditional = torch.split(velocity, batch)
        guided = (1.0 + solver.guidance) * conditional - solver.guidance * unconditional
        step = following - time
        x = x + step * guided
        time = time + step
        observe(index, x)
    return x


def _unguided(condition: Tensor) -> Tensor:
    return torch.cat((condition, torch.zeros_like(condition)))
