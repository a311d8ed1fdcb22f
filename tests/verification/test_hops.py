"""The error of each hop, and the hop that a message names."""

from __future__ import annotations

import numpy as np
import pytest

from cosybuild.numerics.inputs import Array
from cosybuild.verification.hops import ModelForm, describe, error_budget, worst_hop

CASES = ("a", "b")
GATE = {"snr_db": 94.0}


def outputs(*noise: float) -> dict[str, dict[str, Array]]:
    """Return two cases of a signal of rms 1 with noise of these amplitudes, one seed each."""
    made = {}
    for number, case in enumerate(CASES):
        signal = np.sin(np.arange(1000.0) + number) * np.sqrt(2)
        for seed, amplitude in enumerate(noise):
            signal = signal + amplitude * np.random.default_rng(seed).standard_normal(1000)
        made[case] = {"y": signal}
    return made


def budget(*noise: float) -> list[ModelForm]:
    names = ("float64", "torch", "export", "simplify")
    stops = [ModelForm(name, outputs(*noise[:index]), GATE if index else {}) for index, name in enumerate(names)]
    return stops[: len(noise) + 1]


def test_each_hop_has_its_own_loss_and_the_total() -> None:
    torch, export, simplify = error_budget(budget(1e-6, 1e-5, 1e-7))
    assert [hop.loss_db for hop in (torch, export, simplify)] == pytest.approx([120, 100, 140], abs=1)
    assert [hop.total["snr_db"] for hop in (torch, export, simplify)] == pytest.approx([120, 100, 100], abs=1)
    assert [hop.against for hop in (torch, export, simplify)] == ["float64", "torch", "export"]
    assert not any(hop.missed for hop in (torch, export, simplify))


@pytest.mark.parametrize(("noise", "name"), [((1e-3, 1e-6, 1e-6), "torch"), ((1e-6, 1e-3, 1e-6), "export"),
                                             ((1e-6, 1e-6, 1e-3), "simplify")])  # fmt: skip
def test_the_hop_with_the_largest_loss_is_blamed(noise: tuple[float, ...], name: str) -> None:
    hops = error_budget(budget(*noise))
    guilty = worst_hop(hops)
    assert guilty is not None
    assert guilty.name == name
    assert [hop.name for hop in hops if hop.missed] == [name]
    assert f"the hop with the fault is {name} (60." in describe(
        hops
    ) or f"the hop with the fault is {name} (59." in describe(hops)


def test_a_missed_gate_is_blamed_before_a_larger_loss() -> None:
    first, second, third = budget(1e-2, 1e-3)
    hops = error_budget([first, ModelForm(second.name, second.outputs, {"snr_db": 20.0}), third])
    guilty = worst_hop(hops)
    assert guilty is not None
    assert guilty.name == "export", "float64 to torch loses more, and is allowed to"


@pytest.mark.parametrize("broken", [np.full(1000, np.nan), np.zeros(999)])
def test_values_that_are_not_finite_and_other_shapes_have_the_worst_figures(broken: Array) -> None:
    first, second = budget(1e-6)
    (hop,) = error_budget([first, ModelForm("torch", {**second.outputs, "b": {"y": broken}}, GATE)])
    assert hop.loss_db == float("-inf")
    assert hop.case == "b"
    assert hop.missed
    assert hop.facts()["own"]["snr_db"] == "-Infinity"


def test_a_hop_as_data_has_its_loss_and_case_and_gate() -> None:
    first, second, third = budget(1e-6, 1e-2)
    quieter = {**third.outputs, "a": second.outputs["a"]}
    _, hop = error_budget([first, second, ModelForm("export", quieter, GATE)])
    facts = hop.facts()
    assert {name: facts[name] for name in ("hop", "against", "case", "gate")} == {
        "hop": "export", "against": "torch", "case": "b", "gate": GATE}  # fmt: skip
    assert (facts["own"]["snr_db"], facts["total"]["snr_db"]) == pytest.approx((40, 40), abs=1)
    assert facts["own"]["max_abs"] == hop.own["max_abs"] != hop.total["max_abs"] == facts["total"]["max_abs"]
    assert facts["missed"] == [f"snr_db {hop.loss_db:.4g} dB where at least 94 dB is asked for"]
    assert set(facts) == {"hop", "against", "own", "total", "case", "gate", "missed"}


def test_the_description_also_names_the_other_hops() -> None:
    torch, export, simplify = error_budget(budget(1e-6, 1e-3, 1e-5))
    assert describe([torch, export, simplify]) == (
        f"the hop with the fault is export ({export.loss_db:.1f} dB by itself; "
        f"torch {torch.loss_db:.1f} dB, simplify {simplify.loss_db:.1f} dB)"
    )
    assert describe([torch]) == f"the hop with the fault is torch ({torch.loss_db:.1f} dB by itself)"


def test_the_worst_hop_is_blamed_if_several_or_none_miss_a_gate() -> None:
    for noise in ((1e-3, 1e-2, 1e-4), (1e-6, 1e-5, 1e-7)):
        hops = error_budget(budget(*noise))
        assert len({bool(hop.missed) for hop in hops}) == 1
        assert worst_hop(hops) is hops[1]


def test_the_worst_of_several_outputs_is_taken() -> None:
    signal = np.sin(np.arange(1000.0))
    exact = {"a": {"y": signal, "z": signal}}
    actual = {"a": {"y": signal * (1 + 1e-2), "z": signal * (1 + 1e-4)}}
    (hop,) = error_budget([ModelForm("float64", exact, {}), ModelForm("torch", actual, {})])
    assert hop.loss_db == pytest.approx(40)


@pytest.mark.parametrize("broken", [np.full(1000, np.nan), np.zeros(999)])
def test_a_broken_output_has_the_worst_value_of_every_figure(broken: Array) -> None:
    first, second = budget(1e-6)
    (hop,) = error_budget([first, ModelForm("torch", {**second.outputs, "b": {"y": broken}}, {})])
    assert {name: hop.own[name] for name in ("max_abs", "mean_abs", "max_rel")} == dict.fromkeys(
        ("max_abs", "mean_abs", "max_rel"), np.inf
    )
    assert hop.own["cosine"] == 0.0


def test_only_cases_that_every_stop_has_are_compared() -> None:
    first, second = budget(1e-6)
    (hop,) = error_budget([first, ModelForm("torch", {"b": second.outputs["b"]}, GATE)])
    assert hop.case == "b"
    assert error_budget([first, ModelForm("torch", {}, GATE)]) == ()
    assert error_budget([]) == ()
    assert (worst_hop(()), describe(())) == (None, "")
