"""A setting that is a list takes a single value."""

from __future__ import annotations

import pytest

from cosybuild.config.parse import apply_overrides
from cosybuild.config.scalars import add_brackets
from tests.config.composing import settings_of


@pytest.mark.parametrize(("word", "read"), [
    ("trt.sm=89", "trt.sm=[89]"),
    ("objective=error", "objective=[error]"),
    ("precision.keep_fp32='/a b/*'", "precision.keep_fp32=['/a b/*']"),
    ("trt.tactic_sources=cublas", "trt.tactic_sources=[cublas]"),
    ("trt_profile.profiles={}", "trt_profile.profiles={}"),
    ("trt.sm=[89]", "trt.sm=[89]"),
    ("trt.tactic_sources=null", "trt.tactic_sources=null"),
    ("trt.sm=${oc.env:SM}", "trt.sm=${oc.env:SM}"),
    ("trt.sm=89,90", "trt.sm=89,90"),
    ("trt.sm=[89", "trt.sm=[89"),
    ("export.opset=18", "export.opset=18"),
    ("trt=fp16", "trt=fp16"),
    ("hydra.job.chdir=true", "hydra.job.chdir=true"),
    ("~trt.sm", "~trt.sm"),
    ("-m", "-m"),
])  # fmt: skip
def test_only_a_single_value_of_a_list_gets_brackets(word: str, read: str) -> None:
    assert add_brackets(word) == read


def test_each_choice_of_a_sweep_gets_brackets() -> None:
    assert add_brackets("trt.sm=89,[90,75],null", sweeping=True) == "trt.sm=[89],[90,75],null"
    assert add_brackets("trt.sm=range(1,3)", sweeping=True) == "trt.sm=range(1,3)"


def test_settings_get_the_list() -> None:
    settings = settings_of("trt=fp32", add_brackets("trt.sm=89"))
    assert settings.trt is not None
    assert settings.trt.sm == (89,)
    assert apply_overrides({"trt": {"sm": []}}, ["trt.sm=89"]) == ({"trt": {"sm": [89]}}, ("trt.sm",))
