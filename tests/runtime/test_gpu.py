"""CUDA: ONNX Runtime with bound device memory, on the caller's stream. Needs a GPU."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch

from cosybuild.config.groups.precision import Target
from cosybuild.numerics.gates import ENGINE
from cosybuild.numerics.metrics import Array, snr_db
from cosybuild.runtime import load_estimator
from tests.exact import in_float64
from tests.runtime.test_upstream_protocol import run_as_upstream
from tests.runtime.tiny import inputs, module

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")]


def _on_gpu(frames: int, seed: int = 0) -> dict[str, torch.Tensor]:
    return {name: tensor.cuda() for name, tensor in inputs(frames, seed).items()}


def is_close(result: torch.Tensor, exact: Array) -> bool:
    """Compare with the gate of TF32, which CUDA kernels may use; a race or a wrong buffer gives unrelated values."""
    return snr_db(result.cpu().numpy(), exact) >= ENGINE[Target.tf32]["snr_db"]


def test_the_estimator_computes_on_the_stream_of_the_caller(graphs: dict[str, Path]) -> None:
    estimator, reference = load_estimator(graphs["cosyvoice2"], "cuda"), module(2)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        given = _on_gpu(200)
        result = estimator(**given)
    stream.synchronize()
    assert is_close(result, in_float64(reference, **inputs(200)))


def test_two_contexts_serve_four_streams(graphs: dict[str, Path]) -> None:
    estimator, reference = load_estimator(graphs["cosyvoice2"], "cuda", concurrency=2), module(2)
    expected = {frames: in_float64(reference, **inputs(frames, frames)) for frames in (50, 90, 130, 170)}
    wrong: list[int] = []

    def work(frames: int) -> None:
        with torch.cuda.stream(torch.cuda.Stream()):
            for _ in range(50):
                if not is_close(estimator(**_on_gpu(frames, frames)), expected[frames]):
                    wrong.append(frames)

    threads = [threading.Thread(target=work, args=(frames,)) for frames in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_an_output_can_overwrite_an_input_on_the_device(graphs: dict[str, Path]) -> None:
    given = _on_gpu(60)
    run_as_upstream(load_estimator(graphs["cosyvoice2"], "cuda"), given, given["x"])
    torch.cuda.synchronize()
    assert is_close(given["x"], in_float64(module(2), **inputs(60)))
