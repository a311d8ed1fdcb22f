"""The Euler solver with classifier-free guidance."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from cosybuild.models.cosyvoice.solver import solve, time_grid
from cosybuild.models.subject import Solver


@pytest.mark.parametrize("steps", [1, 4, 10])
def test_the_time_grids_follow_their_formulas(steps: int) -> None:
    cosine = time_grid(Solver(steps=steps))
    expected = [1 - math.cos(math.pi / 2 * step / steps) for step in range(steps + 1)]
    assert cosine.tolist() == pytest.approx(expected, abs=1e-6)
    assert time_grid(Solver(steps=steps, schedule="linear")).tolist() == pytest.approx(
        [step / steps for step in range(steps + 1)], abs=1e-6
    )


def test_the_solver_integrates_guidance_pairs_in_the_given_steps() -> None:
    """The integral of the velocity is known: x changes by v = (1 + g) a - g b in total, for any number of steps."""
    calls: list[dict[str, Tensor]] = []

    def estimator(x: Tensor, mask: Tensor, mu: Tensor, t: Tensor, spks: Tensor, cond: Tensor) -> Tensor:
        calls.append({"x": x, "mask": mask, "mu": mu, "t": t, "spks": spks, "cond": cond})
        return mu + 3.0

    noise, mu, spks, cond = torch.randn(2, 4, 5), torch.ones(2, 4, 5), torch.ones(2, 4), torch.ones(2, 4, 5)
    mask = torch.tensor([[[1.0, 1, 1, 1, 1]], [[1, 1, 1, 0, 0]]])
    mel = solve(estimator, noise, mu, spks, cond, mask, Solver(steps=7, guidance=0.5))
    assert len(calls) == 7
    for call in calls:
        assert torch.equal(call["x"][:2], call["x"][2:])
        assert torch.equal(call["mask"], torch.cat((mask, mask)))
        assert call["t"].shape == (4,)
        for name in ("mu", "spks", "cond"):
            assert call[name][:2].eq(1).all()
            assert call[name][2:].eq(0).all()
    assert [call["t"][0].item() for call in calls] == pytest.approx(time_grid(Solver(steps=7))[:-1].tolist(), abs=1e-6)
    assert torch.allclose(mel, noise + (1.5 * 4.0 - 0.5 * 3.0), atol=1e-5)
