"""Ranges of axes and test values that nobody stated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from cosybuild.config.groups.trt_profile import ProfileSettings, RangeSettings
from cosybuild.models.guesses import default_ranges, guessed_values, is_default
from cosybuild.models.spec import Axis, ModelSpec, TensorSpec

SHIPPED = yaml.safe_load((Path(__file__).parents[2] / "conf/trt_profile/default.yaml").read_text(encoding="utf-8"))
DEFAULT = ProfileSettings(
    SHIPPED["name"], tuple({s: RangeSettings(**r) for s, r in one.items()} for one in SHIPPED["profiles"])
)


def ranges(*shapes: tuple[Any, ...], declared: bool = False, **axes: Axis) -> dict[str, tuple[int, int, int]]:
    inputs = tuple(TensorSpec(f"x{index}", shape) for index, shape in enumerate(shapes))
    (found,) = default_ranges(DEFAULT, ModelSpec(inputs, (), axes=axes), declared).profiles
    return {symbol: (one.min, one.max, one.multiple_of) for symbol, one in found.items()}


def test_the_shipped_default_is_recognised_and_a_changed_one_is_not() -> None:
    assert is_default(DEFAULT)
    assert not is_default(ProfileSettings("default", ({"n": RangeSettings(1, 2, 3)},)))


def test_every_axis_has_a_small_range_of_its_role() -> None:
    assert ranges(("N", 3, "h", "w")) == {"N": (1, 4, 1), "h": (64, 192, 32), "w": (64, 192, 32)}
    assert ranges(("b", 2, "past", 4), ("b", "t"), past=Axis(least=0)) == {
        "b": (1, 4, 1),
        "past": (0, 16, 1),
        "t": (16, 64, 1),
    }
    assert ranges(("n",)) == {"n": (16, 64, 1)}


def test_a_waveform_is_longer_than_a_window_of_a_spectrum() -> None:
    def range_of(*inputs: TensorSpec) -> tuple[int, int]:
        (found,) = default_ranges(DEFAULT, ModelSpec(inputs, ()), declared=False).profiles
        return found["n"].min, found["n"].max

    assert range_of(TensorSpec("waveforms", ("batch", "n"))) == (4000, 16000)
    assert range_of(TensorSpec("input", ("batch", "n")), TensorSpec("sr", (), "int64")) == (4000, 16000)
    assert ranges((1, 1, "samples")) == {"samples": (4000, 16000, 1)}
    assert ranges(("samples", 4)) == {"samples": (1, 4, 1)}
    assert range_of(TensorSpec("audio_features", ("batch", 80, "n"))) == (16, 64)
    assert range_of(TensorSpec("input", ("batch", "n"))) == (16, 64)


def test_the_default_of_seq_len_serves_only_a_model_that_declares_this_axis() -> None:
    assert ranges((1, "seq_len"), declared=True) == {"seq_len": (4, 3000, 1)}
    assert ranges((1, "seq_len")) == {"seq_len": (16, 64, 1)}


@pytest.mark.parametrize(
    ("name", "dtype", "expected"),
    [
        ("x", "float16", ("normal", 0, 1)),
        ("x", "bool", ("mask", 0, 1)),
        ("padding_mask", "int64", ("mask", 0, 1)),
        ("unmasked", "float32", ("normal", 0, 1)),
        ("feature_lens", "int32", ("length", 0, 1)),
        ("sr", "int64", ("integer", 16000, 16001)),
        ("image", "uint8", ("integer", 0, 256)),
        ("token_type_ids", "int64", ("integer", 0, 2)),
    ],
)
def test_values_follow_from_name_and_type(name: str, dtype: str, expected: tuple[str, int, int]) -> None:
    guess = guessed_values(name, dtype)
    assert (guess.generator, guess.low, guess.high) == expected
    assert not guess.is_index
