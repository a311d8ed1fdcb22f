"""The flow-matching solver in numpy: Euler steps with classifier-free guidance, for any callable estimator."""

from __future__ import annotations

import numpy as np

from cosybuild.runtime.voice.arrays import Array, Part

SCHEDULES = ("cosine", "linear")


def time_grid(steps: int, schedule: str) -> Array:
    """Return the points in time of the solver, from 0 to 1, (steps + 1,) float64.

    The schedule `linear` has equal distances u; `cosine` has t = 1 - cos(pi/2 u).

    Raises:
        ValueError: there is no such schedule.
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule={schedule!r}; {' or '.join(SCHEDULES)} is expected")
    linear = np.linspace(0.0, 1.0, steps + 1)
    return 1.0 - np.cos(linear * 0.5 * np.pi) if schedule == "cosine" else linear


def solve(
    estimator: Part,
    mu: Array,
    spks: Array,
    cond: Array,
    noise: Array,
    steps: int = 10,
    guidance: float = 0.7,
    schedule: str = "cosine",
) -> Array:
    """Integrate the velocity from noise to mel, in the type of `mu`.

    Each step calls the estimator once with two rows: row 0 is conditional, row 1 has mu, spks and cond set to zero.
    With the outputs v0 and v1 of the two rows and the guidance rate g, the velocity is (1 + g) v0 - g v1.

    Args:
        estimator: called with x, mask, mu, t, spks and cond by name; its output `estimator_out` is the velocity.
        mu, cond: (1, mel, T).
        spks: (1, speaker).
        noise: (1, mel, T), the state at time 0.
        steps: number of Euler steps.
        guidance: rate g of classifier-free guidance.
        schedule: `cosine` or `linear`.

    Returns:
        The mel, (1, mel, T).
    """
    kind = mu.dtype
    grid = time_grid(steps, schedule).astype(kind)
    fixed = {"mu": _pair(mu), "spks": _pair(spks), "cond": _pair(cond), "mask": np.ones((2, 1, mu.shape[2]), kind)}
    x, time = noise.astype(kind), grid[0]
    conditioned, free = kind.type(1.0 + guidance), kind.type(guidance)
    for following in grid[1:]:
        given = {"x": np.concatenate((x, x)), "t": np.full(2, time, kind), **fixed}
        velocity = estimator(**given)["estimator_out"].astype(kind, copy=False)
        step = following - time
        x = x + step * (conditioned * velocity[:1] - free * velocity[1:])
        # Upstream adds up the steps. The sum is not exactly the grid's time, because of rounding.
        time = time + step
    return x


def _pair(condition: Array) -> Array:
    return np.concatenate((condition, np.zeros_like(condition)))
