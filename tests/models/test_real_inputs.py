"""Batches of real inputs: their files, sizes and profiles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cosybuild.errors import ConfigurationError
from cosybuild.models.real_inputs import check_inside, given_batches, given_files, ranges_of
from cosybuild.models.shape_profile import SizeRange
from cosybuild.models.spec import ModelSpec, TensorSpec

SPEC = ModelSpec(
    (TensorSpec("x", ("batch", 4, "frames")), TensorSpec("cache", ("batch", "past + 1")), TensorSpec("n", ())), ()
)


def save(path: Path, batch: int, frames: int, past: int = 2, **others: Any) -> Path:
    arrays = {"x": np.zeros((batch, 4, frames), np.float32), "cache": np.zeros((batch, past + 1)), "n": np.array(3)}
    np.savez(path, **{**arrays, **others})
    return path


def test_sizes_are_read_from_the_headers(tmp_path: Path) -> None:
    (batch,) = given_batches([save(tmp_path / "a.npz", 2, 96, past=5)], SPEC)
    assert batch.sizes == {"batch": 2, "frames": 96, "past": 5}
    assert batch.name == "a.npz"


def test_the_sizes_of_all_batches_make_a_profile(tmp_path: Path) -> None:
    files = [save(tmp_path / f"{frames}.npz", 1, frames) for frames in (64, 192, 128)]
    ranges = ranges_of(given_batches(files, SPEC), SPEC)
    found = {symbol: (one.min, one.opt, one.max, one.multiple_of) for symbol, one in ranges.items()}
    assert found == {"batch": (1, 1, 1, 1), "frames": (64, 128, 192, 64), "past": (2, 2, 2, 2)}


def test_a_batch_outside_the_profiles_is_refused_with_a_profile_that_holds_it(tmp_path: Path) -> None:
    batches = given_batches([save(tmp_path / "a.npz", 1, 96)], SPEC)
    profile = {"batch": SizeRange(1, 1, 1), "frames": SizeRange(1, 16, 64), "past": SizeRange(0, 2, 4)}
    with pytest.raises(ConfigurationError, match=r"a\.npz with batch 1, frames 96, past 2, which no") as refused:
        check_inside(batches, [profile], SPEC)
    assert "frames: {min: 96, opt: 96, max: 96}" in refused.value.hint
    check_inside(batches, [{**profile, "frames": SizeRange(1, 16, 96)}], SPEC)


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ({"x": np.zeros((1, 5, 8), np.float32)}, r"x in .*a\.npz .* has the shape \(1, 5, 8\); the model takes"),
        ({"cache": np.zeros((3, 3))}, r"cache in .* has the shape \(3, 3\)"),
        ({"more": np.zeros(1)}, r"has the arrays cache, more, n, x; the model takes x, cache, n"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused(tmp_path: Path, others: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        given_batches([save(tmp_path / "a.npz", 1, 8, **others)], SPEC)


def test_a_file_that_is_no_npz_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"PK no archive")
    with pytest.raises(ConfigurationError, match=r"cannot be read as \.npz"):
        given_batches(given_files(str(tmp_path)), SPEC)
    with pytest.raises(ConfigurationError, match=r"neither an \.npz file nor a directory"):
        given_files(str(tmp_path / "none"))
