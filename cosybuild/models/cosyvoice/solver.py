"""The flow-matching solver around an estimator: Euler steps with classifier-free guidance."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from cosybuild.models.subject import Solver


class Estimator(Protocol):
    """A callable that returns the velocity (2 * B, mel, T) of B guidance pairs; inputs: see `estimator_spec`."""

    def __call__(self, x: Tensor, mask: Tensor, mu: Tensor, t: Tensor, spks: Tensor, cond: Tensor, /) -> Tensor: ...


def time_grid(solver: Solver, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return the solver's points in time, from 0 to 1, as a tensor (steps + 1,) computed in `dtype`.

    The points u are equally spaced. With the schedule `cosine`, t = 1 - cos(pi/2 u) replaces u.
    """
    grid = torch.linspace(0, 1, solver.steps + 1, dtype=dtype)
    return 1 - torch.cos(grid * 0.5 * math.pi) if solver.schedule == "cosine" else grid


def _ignore(step: int, state: Tensor) -> None:
    """Ignore the solver's state: the default observer, for callers that need only the result."""


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
    """Integrate the estimator's velocity over time with Euler steps, and return the mel (B, mel, T).

    Each step calls the estimator once, with guidance pairs: in the second half of the batch, mu, spks and cond are
    zero. The length of a step is the next point in time minus the sum of the earlier steps.

    Args:
        estimator: called with a batch of 2 * B rows.
        noise: the state at time 0, (B, mel, T).
        mu, cond: (B, mel, T).
        spks: (B, speaker).
        mask: (B, 1, T), 1 where a frame is valid, else 0.
        solver: number of steps, schedule and guidance strength.
        observe: called after each step with the step's number, from 1, and the new state (B, mel, T).
        points: the points in time; None for those of `time_grid`, computed in float32.
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
