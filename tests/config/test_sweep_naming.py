"""Names of sweeps are readable, and do not depend on order, store or launcher."""

from __future__ import annotations

import re

import pytest

from cosybuild.config.sweep_naming import cell_id, sweep_name

CHOICES = {"sweep": "none", "hydra/sweeper": "basic"}
WORDS = ["export=opset17,opset18", "trt=fp32,fp16", "model_dir=/models/CosyVoice2-0.5B/"]


def test_the_name_has_the_model_and_the_varied_settings() -> None:
    assert re.fullmatch(r"CosyVoice2_0\.5B-export-trt-[0-9a-f]{8}", sweep_name(WORDS, {}, CHOICES))


def test_a_named_sweep_has_its_own_name() -> None:
    name = sweep_name(["sweep=matrix"], {"trt": "fp32,fp16"}, {**CHOICES, "sweep": "matrix"})
    assert re.fullmatch(r"matrix-[0-9a-f]{8}", name)
    assert sweep_name([], {"trt": "fp32,bf16"}, {**CHOICES, "sweep": "matrix"}) != name


@pytest.mark.parametrize(
    "word", ["store.path=/elsewhere", "store=off", "deploy=bundle", "lock=true", "objective=[size]"]
)
def test_settings_of_places_do_not_change_the_name(word: str) -> None:
    assert sweep_name([*WORDS, word], {}, CHOICES) == sweep_name(WORDS, {}, CHOICES)


def test_the_order_of_the_overrides_does_not_change_the_name() -> None:
    digest = sweep_name(WORDS, {}, CHOICES)[-8:]
    assert sweep_name(WORDS[::-1], {}, CHOICES)[-8:] == digest
    assert cell_id(["a=1", "b=2"]) == cell_id(["b=2", "a=1"]) != cell_id(["a=1", "b=3"])


@pytest.mark.parametrize("word", ["export=opset17,opset20", "model.seed=1", "+x=1"])
def test_settings_of_the_build_change_the_name(word: str) -> None:
    assert sweep_name([*WORDS, word], {}, CHOICES) != sweep_name(WORDS, {}, CHOICES)


def test_another_sweeper_changes_the_name() -> None:
    searching = {**CHOICES, "hydra/sweeper": "optuna"}
    assert sweep_name(["trt=choice(fp32,fp16)"], {}, searching).startswith("optuna-trt-")


def test_the_name_cannot_lead_out_of_its_directory() -> None:
    assert "/" not in sweep_name(["trt_profile=acme/edge,../../x", "a/b=1,2"], {}, CHOICES)


@pytest.mark.parametrize(
    ("word", "varied"),
    [
        ("trt=fp32,fp16", True),
        ("trt=choice(fp32,fp16)", True),
        ("model.seed=range(1,4)", True),
        ("model.seed=1", False),
        ("trt.sm=[89,86]", False),
        ("trt.sm=[89,86],[75]", True),
        ("trt_profile.profiles=[{seq_len: {min: 4, opt: 16, max: 40}}]", False),
        ("model.name='a,b'", False),
    ],
)
def test_the_name_has_only_varied_settings(word: str, varied: bool) -> None:
    key = word.partition("=")[0].rpartition(".")[2]
    assert sweep_name([word], {}, CHOICES).startswith(f"{key}-") is varied
