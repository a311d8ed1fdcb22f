"""The wrapper of an estimator for the export: its `forward` takes exactly the declared inputs."""

from __future__ import annotations

from torch import Tensor, nn


class ExportableEstimator(nn.Module):
    """An estimator with a fixed streaming flag, so that its forward takes exactly the declared inputs."""

    def __init__(self, estimator: nn.Module, streaming: bool) -> None:
        super().__init__()
        self.estimator = estimator
        self.streaming = streaming

    def forward(self, x: Tensor, mask: Tensor, mu: Tensor, t: Tensor, spks: Tensor, cond: Tensor) -> Tensor:
        """Call the estimator with the fixed `streaming`."""
        result: Tensor = self.estimator(x, mask, mu, t, spks, cond, streaming=self.streaming)
        return result
