"""CUDA: ONNX Runtime with bound device memory, on the caller's stream. Needs a GPU."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch

from cosybuild.runtime import load_estimator
from tests.runtime.test_upstream_protocol import run_as_upstream
from tests.runtime.tiny import inputs, module

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")]


def _on_gpu(frames: int, seed: int = 0) -> dict[str, torch.Tensor]:
    return {name: tensor.cuda() for name, tensor in inputs(frames, seed).items()}


def test_it_computes_on_the_callers_stream(graphs: dict[str, Path]) -> None:
    estimator, reference = load_estimator(graphs["cosyvoice2"], "cuda"), module(2)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        given = _on_gpu(200)
        result = estimator(**given)
    stream.synchronize()
    torch.testing.assert_close(result.cpu(), reference(**inputs(200)), rtol=1e-3, atol=1e-3)


def test_two_contexts_serve_four_streams(graphs: dict[str, Path]) -> None:
    estimator, reference = load_estimator(graphs["cosyvoice2"], "cuda", concurrency=2), module(2)
    expected = {frames: reference(**inputs(frames, frames)) for frames in (50, 90, 130, 170)}
    wrong: list[int] = []

    def work(frames: int) -> None:
        with torch.cuda.stream(torch.cuda.Stream()):
            for _ in range(50):
                result = estimator(**_on_gpu(frames, frames)).cpu()
                if not torch.allclose(result, expected[frames], rtol=1e-3, atol=1e-3):
                    wrong.append(frames)

    threads = [threading.Thread(target=work, args=(frames,)) for frames in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_in_place_on_the_device(graphs: dict[str, Path]) -> None:
    given = _on_gpu(60)
    run_as_upstream(load_estimator(graphs["cosyvoice2"], "cuda"), given, given["x"])
    torch.cuda.synchronize()
    torch.testing.assert_close(given["x"].cpu(), module(2)(**inputs(60)), rtol=1e-3, atol=1e-3)
