from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosybuild.config.groups.trt_profile import ProfileSettings, RangeSettings
from cosybuild.errors import ConfigurationError
from cosybuild.models.shape_profile import SizeRange, admits, expand_profiles, moved_inside, named_sizes
from cosybuild.models.spec import ModelSpec, TensorSpec

SPEECH = ModelSpec((TensorSpec("x", (2, 8, "seq_len")),), (TensorSpec("y", (2, 8, "seq_len")),), frames_per_second=50)
BATCHED = ModelSpec((TensorSpec("x", ("batch", 8, "seq_len")),), (), frames_per_second=22050 / 256)
FIXED = ModelSpec((TensorSpec("x", (1, 80)),), ())
UNTIMED = ModelSpec((TensorSpec("x", (1, "tokens")),), ())


def profile(*ranges: dict[str, tuple[Any, Any, Any]]) -> ProfileSettings:
    return ProfileSettings("mine", tuple({s: RangeSettings(*r) for s, r in one.items()} for one in ranges))


def test_frames_and_durations_are_converted_to_frames() -> None:
    (found,) = expand_profiles(profile({"seq_len": (4, "10 s", "60 s")}), SPEECH)
    assert found == {"seq_len": SizeRange(4, 500, 3000)}


@pytest.mark.parametrize(("text", "frames"), [("80ms", 4), ("0.1 s", 5), ("1.5 sec", 75), ("2 min", 6000), ("7", 7)])
def test_all_units_of_time_are_converted(text: str, frames: int) -> None:
    (found,) = expand_profiles(profile({"seq_len": (1, frames, text)}), SPEECH)
    assert found["seq_len"].max == frames


def test_a_duration_is_rounded_outwards_to_whole_frames() -> None:
    (found,) = expand_profiles(profile({"seq_len": ("1 s", "10 s", "34.8 s")}), BATCHED)
    assert found["seq_len"] == SizeRange(86, 861, 2998)  # 86.1, 861.3, 2997.4 frames


def test_a_dynamic_batch_has_a_default_range() -> None:
    (found,) = expand_profiles(profile({"seq_len": (4, 500, 3000)}), BATCHED)
    assert found["batch"] == SizeRange(2, 4, 32)
    (found,) = expand_profiles(profile({"seq_len": (4, 500, 3000), "batch": (2, 8, 16)}), BATCHED)
    assert next(iter(found.items())) == ("batch", SizeRange(2, 8, 16))


def test_several_profiles_keep_their_order() -> None:
    found = expand_profiles(profile({"seq_len": (1, 2, 3)}, {"seq_len": (4, 5, 6)}), SPEECH)
    assert [one["seq_len"].max for one in found] == [3, 6]


def test_a_model_without_varying_sizes_has_one_empty_profile() -> None:
    assert expand_profiles(profile(), FIXED) == ({},)
    assert expand_profiles(profile(), SPEECH) == ()


@pytest.mark.parametrize(
    ("ranges", "spec", "parts"),
    [
        ({"seq_len": (5, 4, 6)}, SPEECH, ["min 5, opt 4, max 6", "min <= opt <= max"]),
        ({"seq_len": (0, 4, 6)}, SPEECH, ["seq_len.min is 0", "at least 1"]),
        ({"seq_len": (1, 4.5, 6)}, SPEECH, ["seq_len.opt is 4.5"]),
        ({"seq_len": (True, 4, 6)}, SPEECH, ["seq_len.min is True"]),
        ({"seq_len": (1, 4, "3 h")}, SPEECH, ["'3 h'", "ms, s, sec, min"]),
        ({"seq_len": (1, 4, "soon")}, SPEECH, ["'soon'"]),
        ({"tokens": (1, 4, "60 s")}, UNTIMED, ["'60 s'", "model.frames_per_second"]),
        ({"seq_lenn": (1, 4, 6)}, SPEECH, ["'seq_lenn'", "dynamic axes: seq_len"]),
        ({"seq_len": (1, 4, 6), "batch": (1, 2, 4)}, SPEECH, ["'batch'", "export.dynamic_batch=true"]),
        ({}, SPEECH, ["no range for the axis 'seq_len'"]),
    ],
)
def test_invalid_profiles_are_refused(
    ranges: dict[str, tuple[Any, Any, Any]], spec: ModelSpec, parts: list[str]
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        expand_profiles(profile(ranges), spec)
    for part in ["trt_profile 'mine'", *parts]:
        assert part in str(caught.value)


@given(st.floats(0.02, 100, allow_nan=False).map(lambda x: round(x, 3)))
def test_a_range_in_seconds_loses_no_frame(seconds: float) -> None:
    (found,) = expand_profiles(profile({"seq_len": (f"{seconds} s", f"{seconds} s", f"{seconds} s")}), SPEECH)
    sizes = found["seq_len"]
    assert sizes.min <= max(1.0, seconds * 50 + 1e-6)
    assert sizes.max >= seconds * 50 - 1e-6
    assert sizes.max - sizes.min <= 1


def test_a_range_with_a_multiple_holds_only_multiples() -> None:
    ranges = {"seq_len": RangeSettings(32, 64, 256, 32)}
    ((symbol, sizes),) = expand_profiles(ProfileSettings(profiles=(ranges,)), SPEECH)[0].items()
    assert [size for size in range(300) if sizes.holds(size)] == [*range(32, 257, 32)]
    assert [sizes.nearest(size) for size in (1, 63, 64, 100, 999)] == [32, 32, 64, 96, 256]
    assert all(sizes.holds(sizes.spread(size)) for size in range(300))
    assert len({sizes.spread(size) for size in range(65, 73)}) == 8, "neighbours become different sizes"
    assert named_sizes({symbol: sizes}) == {"seq_len": {"min": 32, "opt": 64, "max": 256, "multiple_of": 32}}
    assert named_sizes({symbol: SizeRange(1, 2, 3)}) == {"seq_len": {"min": 1, "opt": 2, "max": 3}}


@pytest.mark.parametrize("sizes", [(30, 64, 256, 32), (32, 65, 256, 32), (32, 64, 250, 32), (32, 64, 256, 0)])
def test_a_range_without_any_multiple_is_refused(sizes: tuple[int, ...]) -> None:
    with pytest.raises(ConfigurationError, match="are not all multiples of"):
        expand_profiles(ProfileSettings(profiles=({"seq_len": RangeSettings(*sizes)},)), SPEECH)


def test_a_batch_is_moved_to_the_nearest_size_and_lengths_are_spread() -> None:
    profiles = [{"batch": SizeRange(1, 1, 1), "seq_len": SizeRange(4, 8, 16)}]
    assert moved_inside(profiles, {"batch": 1, "seq_len": 5}) == {"batch": 1, "seq_len": 5}
    moved = moved_inside(profiles, {"batch": 2, "seq_len": 100})
    assert moved["batch"] == 1
    assert admits(profiles, moved)
    assert moved_inside([], {"seq_len": 7}) == {"seq_len": 7}
