"""The module that is exported in place of an estimator."""

from __future__ import annotations

from torch import Tensor, nn


class ExportableEstimator(nn.Module):
    """A wrapper that fixes the argument `streaming`, so that `forward` takes exactly the declared inputs."""

    def __init__(self, estimator: nn.Module, streaming: bool) -> None:
        super().__init__()
        self.estimator = estimator
        self.streaming = streaming

    def forward(self, x: Tensor, mask: Tensor, mu: Tensor, t: Tensor, spks: Tensor, cond: Tensor) -> Tensor:
        """Return the estimator's velocity, (B, mel, T); the inputs are those of the estimator."""
        result: Tensor = self.estimator(x, mask, mu, t, spks, cond, streaming=self.streaming)
        return result
