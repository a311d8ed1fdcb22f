"""A bound follows its metric's direction, and NaN never passes."""

from __future__ import annotations

import math

import pytest

from cosybuild.config.groups.precision import Target
from cosybuild.errors import ConfigurationError
from cosybuild.numerics.gates import (
    LOWERED,
    LOWERED_SOLVER,
    OF_KIND,
    check_gate,
    for_length,
    misses,
    plain_gate,
    with_ratio,
    worst,
)
from cosybuild.numerics.metrics import METRICS, Kind

FIGURES = {"snr_db": 80.0, "max_abs": 0.01, "cosine": 0.999}


@pytest.mark.parametrize(
    ("gate", "missed"),
    [
        ({}, []),
        ({"snr_db": 80.0, "max_abs": 0.01, "cosine": 0.999}, []),
        ({"snr_db": 80.1}, ["snr_db"]),
        ({"max_abs": 0.0099}, ["max_abs"]),
        ({"cosine": 0.9999, "snr_db": 90}, ["cosine", "snr_db"]),
    ],
)
def test_a_bound_is_a_smallest_or_largest_value_depending_on_the_metric(
    gate: dict[str, float], missed: list[str]
) -> None:
    assert [miss.metric for miss in misses(FIGURES, gate)] == missed


@pytest.mark.parametrize("name", METRICS)
def test_nan_passes_no_bound(name: str) -> None:
    (miss,) = misses({name: math.nan}, {name: 0.0})
    assert "nan" in str(miss)


def test_a_miss_names_the_bound() -> None:
    (low,) = misses(FIGURES, {"snr_db": 94.0})
    assert str(low) == "snr_db 80 dB where at least 94 dB is asked for"
    (high,) = misses(FIGURES, {"max_abs": 0.001})
    assert str(high) == "max_abs 0.01 where at most 0.001 is asked for"


def test_the_worst_value_is_taken_for_each_metric() -> None:
    assert worst([FIGURES, {"snr_db": 90.0, "max_abs": 0.1, "cosine": 0.99}]) == {
        "snr_db": 80.0, "max_abs": 0.1, "cosine": 0.99}  # fmt: skip
    assert worst([FIGURES, {"snr_db": 90.0}]) == {"snr_db": 80.0}
    assert worst([]) == {}


def test_a_gate_with_an_unknown_metric_is_refused() -> None:
    with pytest.raises(
        ConfigurationError, match=r"verify\.hops\.torch\.snr is not a metric .*: max_abs, .*snr_db"
    ) as caught:
        check_gate("verify.hops.torch", {"snr": 3.0})
    assert caught.value.hint == "Next: correct the name; docs/verification.md lists them."
    with pytest.raises(ConfigurationError, match="lsd_db"):
        check_gate("verify.hops.torch", {"lsd_db": 3.0})
    check_gate("verify.solver.gates", {"lsd_db": 3.0}, Kind.mel)


def test_every_default_gate_has_known_metrics() -> None:
    for gates in (LOWERED, LOWERED_SOLVER):
        for target, gate in gates.items():
            check_gate(target.value, gate, Kind.mel if gates is LOWERED_SOLVER else Kind.any)


def test_in_a_key_a_bound_is_a_number_in_any_spelling() -> None:
    plain = plain_gate({"snr_db": 34, "max_rel": 0.2})
    assert plain == {"snr_db": 34.0, "max_rel": 0.2}
    assert all(type(bound) is float for bound in plain.values())


def test_a_stated_ratio_also_sets_the_bound_on_the_largest_error() -> None:
    gate = LOWERED[Target.fp16]
    assert with_ratio(gate, None) == gate
    for ratio in (20.0, 60.0):
        stated = with_ratio({**gate, "cosine": 0.9}, ratio)
        assert stated == {"snr_db": ratio, "max_rel": pytest.approx(8 * 10 ** (-ratio / 20)), "cosine": 0.9}
    assert with_ratio(gate, 20.0)["max_rel"] > gate["max_rel"] > with_ratio(gate, 60.0)["max_rel"]


def test_the_gate_on_a_waveform_is_wider_above_ten_seconds_only() -> None:
    gate = OF_KIND[Kind.waveform]
    assert for_length(Kind.waveform, gate, 240_000) == gate
    wider = for_length(Kind.waveform, gate, 1_440_000)
    assert wider["log_mel_db"] == pytest.approx(6 * gate["log_mel_db"])
    assert wider["multi_resolution"] == pytest.approx(6 * gate["multi_resolution"])
    assert gate["snr_db"] - wider["snr_db"] == pytest.approx(15.56, abs=0.01)
    assert {name: wider[name] for name in ("clipped", "dc", "silence")} == {
        name: gate[name] for name in ("clipped", "dc", "silence")
    }


@pytest.mark.parametrize("kind", [kind for kind in OF_KIND if kind is not Kind.waveform])
def test_no_other_gate_depends_on_the_length(kind: Kind) -> None:
    assert for_length(kind, OF_KIND[kind], 10**9) == OF_KIND[kind]
