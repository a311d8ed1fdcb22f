"""The caches of a stream: what each step of each call gets."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from cosybuild.runtime.voice.arrays import Array
from cosybuild.runtime.voice.caches import CachedSteps, CacheForm, cache_form

INPUTS: dict[str, tuple[tuple[int | str, ...], str]] = {
    "x": ((2, 80, "seq_len"), "float32"),
    "conv_cache": ((2, 5, 2), "float16"),
    "att_cache": (("history", 4, 2, 3, 1), "float16"),
    "x_offset": ((1,), "int64"),
}


class Recorder:
    """An estimator whose new cache has the number of its call in every element, plus the frame as a fraction."""

    def __init__(self) -> None:
        self.seen: list[Mapping[str, Array]] = []

    def __call__(self, **inputs: Array) -> dict[str, Array]:
        self.seen.append({name: np.copy(values) for name, values in inputs.items()})
        frames = inputs["x"].shape[2]
        marks = len(self.seen) + np.arange(frames) / 128
        kept = np.broadcast_to(marks.reshape(-1, 1, 1, 1, 1), (frames, 4, 2, 3, 1)).astype(np.float16)
        return {"new_att_cache": kept, "new_conv_cache": np.full((2, 5, 2), len(self.seen), np.float16)}

    def marks(self, call: int) -> list[float]:
        return [float(value) for value in self.seen[call]["att_cache"][:, 0, 0, 0, 0]]


def solved(steps: CachedSteps, count: int, frames: int) -> None:
    for _ in range(count):
        steps(x=np.zeros((2, 80, frames), np.float32))


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def test_the_form_is_read_from_the_inputs_of_a_graph() -> None:
    form = cache_form(INPUTS, 100)
    assert form == CacheForm((2, 5, 2), (4, 2, 3, 1), np.dtype(np.float16), True, 100)
    without = cache_form({name: value for name, value in INPUTS.items() if name != "x_offset"}, None)
    assert (without.has_offset, without.most) == (False, None)
    symbolic = {
        **INPUTS,
        "conv_cache": (("batch", 5, 2), "float16"),
        "att_cache": (("history", 4, "batch", 3, 1), "float16"),
    }
    assert cache_form(symbolic, 100) == form


def test_each_step_gets_its_own_caches(recorder: Recorder) -> None:
    steps = CachedSteps(recorder, cache_form(INPUTS, None), 2)
    for frames in (2, 1, 3):
        solved(steps, 2, frames)
    assert [recorder.marks(call) for call in range(6)] == [
        [], [], [1, 1 + 1 / 128], [2, 2 + 1 / 128], [1, 1 + 1 / 128, 3], [2, 2 + 1 / 128, 4]]  # fmt: skip
    assert [seen["conv_cache"][0, 0, 0] for seen in recorder.seen] == [0, 0, 1, 2, 3, 4]
    assert [seen["x_offset"].tolist() for seen in recorder.seen] == [[0], [0], [2], [2], [3], [3]]
    assert steps.frames == 6


def test_the_last_call_leaves_nothing(recorder: Recorder) -> None:
    steps = CachedSteps(recorder, cache_form(INPUTS, None), 1)
    solved(steps, 1, 2)
    steps.last = True
    solved(steps, 2, 3)
    assert [len(recorder.marks(call)) for call in range(3)] == [0, 2, 2]


def test_without_a_cap_every_frame_is_kept_in_order(recorder: Recorder) -> None:
    steps = CachedSteps(recorder, cache_form(INPUTS, None), 1)
    for _ in range(30):
        solved(steps, 1, 50)
    assert recorder.marks(29) == [float(np.float16(call + frame / 128)) for call in range(1, 30) for frame in range(50)]


def test_a_cap_keeps_the_newest_frames(recorder: Recorder) -> None:
    steps = CachedSteps(recorder, cache_form(INPUTS, 4), 1)
    for frames in (2, 2, 2, 6, 2):
        solved(steps, 1, frames)
    assert [sorted(recorder.marks(call)) for call in range(5)] == [
        [],
        [1, 1 + 1 / 128],
        [1, 1 + 1 / 128, 2, 2 + 1 / 128],
        [2, 2 + 1 / 128, 3, 3 + 1 / 128],
        [4 + frame / 128 for frame in (2, 3, 4, 5)],
    ]
    assert [int(seen["x_offset"][0]) for seen in recorder.seen] == [0, 2, 4, 6, 12]


def test_the_bytes_are_those_of_all_steps() -> None:
    form = cache_form(INPUTS, 4)
    assert form.bytes_of(3, 10) == 10 * 2 * (2 * 5 * 2 + 3 * 4 * 2 * 3)
    assert form.bytes_of(100, 10) == form.bytes_of(4, 10)
