"""The drop-in estimator: a PyTorch module that upstream's solver calls in place of the original network."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cosybuild.errors import ServingError, ShapeRefused, VariantRefused
from cosybuild.runtime.context import Context, EngineView, shape_error
from cosybuild.runtime.inputs import check_kinds, check_shapes
from cosybuild.runtime.interface import INPUTS, OUTPUT, Interface
from cosybuild.runtime.pool import Pool


@dataclass(frozen=True)
class Slot:
    """One item of the pool: an execution context, and the stream that `acquire_estimator` gives to its caller."""

    context: Context
    stream: Any


@dataclass(frozen=True)
class Served:
    """One loaded artifact.

    Attributes:
        name: the file name, for errors.
        interface: the artifact's inputs, outputs and profiles.
        streaming: True if the artifact was built with streaming attention (chunk mask), False for full attention.
        slots: the pool of execution contexts.
        computed_in: `float32`, `float16` or `bfloat16`. It is the type of the tensors of a graph or engine, and the
            type in which an OpenVINO IR computes matrix products.
    """

    name: str
    interface: Interface
    streaming: bool
    slots: Pool[Slot]
    computed_in: str


class BuiltEstimator(nn.Module):
    """A PyTorch module that runs built artifacts. Any number of threads may call it.

    Args:
        served: the loaded artifacts. The first one that covers a call runs the call.
        device: the device of all artifacts.
        fallback: the module that runs a call that no artifact covers; if None, such a call raises an error.
    """

    def __init__(self, served: Sequence[Served], device: torch.device, fallback: nn.Module | None = None) -> None:
        super().__init__()
        self.served = tuple(served)
        self.device = device
        self.fallback = fallback
        self._lent: dict[int, tuple[Served, Slot]] = {}

    @torch.no_grad()
    def forward(
        self, x: Tensor, mask: Tensor, mu: Tensor, t: Tensor, spks: Tensor, cond: Tensor, streaming: bool = False
    ) -> Tensor:
        """Return the velocity at time t.

        Inputs are cast to the artifact's type, and the result is cast back to the type of x. On CUDA the work is
        enqueued on the caller's current stream. B is the batch size and T the number of frames.

        Args:
            x: (B, mel, T).
            mask: (B, 1, T), 1 for valid frames, else 0.
            mu: (B, mel, T).
            t: (B,) in 0..1, or of shape () for all rows.
            spks: (B, speaker).
            cond: (B, mel, T).
            streaming: True for streaming attention (chunk mask), False for full attention. Each artifact computes only
                one of them.

        Returns:
            (B, mel, T), in newly allocated memory.

        Raises:
            VariantRefused: no artifact computes the attention that `streaming` asks for, and there is no fallback.
            ShapeRefused: the shapes of the inputs contradict each other, or no profile covers them and there is no
                fallback.
            PoolExhausted: all execution contexts were busy until the timeout.
            ServingError: an input is not a dense floating-point tensor on the estimator's device, `streaming` is not a
                bool, or the run failed.
        """
        tensors = dict(zip(INPUTS, (x, mask, mu, t, spks, cond), strict=True))
        check_kinds(tensors, streaming, self.device)
        if t.ndim == 0 and x.ndim > 0:
            tensors["t"] = t.expand(x.shape[0])
        check_shapes(tensors)
        try:
            served = self._choose(tensors, streaming)
        except (VariantRefused, ShapeRefused):
            if self.fallback is None:
                raise
            result: Tensor = self.fallback(x, mask, mu, t, spks, cond, streaming=streaming)
            return result
        return self._run(served, tensors).to(x.dtype)

    def acquire_estimator(self, streaming: bool = False) -> tuple[tuple[Context, Any], EngineView]:
        """Lend an execution context, as upstream's pool does, and return ((context, stream), engine).

        The context belongs to the first artifact with the requested attention. The caller sets shapes and addresses by
        name and calls `execute_async_v3`. The stream is a torch CUDA stream; on the CPU it is a context manager that
        does nothing.

        Raises:
            VariantRefused: no artifact computes the attention that `streaming` asks for.
            PoolExhausted: all execution contexts were busy until the timeout.
        """
        served = self._of_variant(streaming)[0]
        slot = served.slots.take()
        self._lent[id(slot.context)] = served, slot
        return (slot.context, slot.stream), EngineView(served.interface)

    def release_estimator(self, context: Context, stream: Any) -> None:
        """Put a context that `acquire_estimator` returned back into the pool. The argument `stream` is not used.

        Raises:
            ServingError: the context is not lent at present, for example because it was already put back.
        """
        lent = self._lent.pop(id(context), None)
        if lent is None:
            raise ServingError("release_estimator was called with a context that is not in use.")
        served, slot = lent
        context.clear()
        served.slots.give(slot)

    def _run(self, served: Served, tensors: dict[str, Tensor]) -> Tensor:
        dtype = getattr(torch, served.interface.dtype)
        # The cast tensors live until the work is enqueued. After that, the CUDA allocator reuses their memory in stream
        # order.
        given = {name: tensor.detach().to(dtype).contiguous() for name, tensor in tensors.items()}
        output = torch.empty_like(given["x"])
        with served.slots.lend() as slot, torch.cuda.device(self.device) if self._on_cuda else nullcontext():
            for name, tensor in given.items():
                slot.context.set_input_shape(name, tuple(tensor.shape))
                slot.context.set_tensor_address(name, tensor.data_ptr())
            slot.context.set_tensor_address(OUTPUT, output.data_ptr())
            try:
                slot.context.execute_async_v3(self._current_stream())
            finally:
                slot.context.clear()
        return output

    def _choose(self, tensors: dict[str, Tensor], streaming: bool) -> Served:
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        candidates = self._of_variant(streaming)
        for served in candidates:
            if served.interface.choose(shapes) is not None:
                return served
        raise shape_error(shapes, " nor ".join(served.name for served in candidates), candidates[0].interface)

    def _of_variant(self, streaming: bool) -> list[Served]:
        candidates = [served for served in self.served if served.streaming == streaming]
        if not candidates:
            asked, has = ("streaming", "full") if streaming else ("full", "streaming")
            raise VariantRefused(
                f"{asked} attention is requested, but {', '.join(s.name for s in self.served)} computes {has} "
                "attention, which is fixed in the artifact.",
                hint=f"Next: build with model.streaming={str(streaming).lower()} and load a directory that has both.",
            )
        return candidates

    @property
    def _on_cuda(self) -> bool:
        return self.device.type == "cuda"

    def _current_stream(self) -> int:
        return int(torch.cuda.current_stream(self.device).cuda_stream) if self._on_cuda else 0
