"""A path with any letter can be an override; text of Hydra's grammar keeps its meaning."""

from __future__ import annotations

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from cosybuild.config.quoting import add_quotes


@pytest.mark.parametrize(
    "value", ["/home/zoë/model", "模型", "a b/ü", "/data/model#2", "~/model", "a&b;c!d^e`<f>", "ß:1", "\xa0"]
)
def test_a_value_that_hydra_refuses_without_quotes_is_quoted(value: str) -> None:
    (override,) = OverridesParser.create().parse_overrides([add_quotes(f"model_dir={value}")])
    assert override.value() == value


@pytest.mark.parametrize(
    "word",
    [
        "model_dir=/a b/model",
        "export.opset=18",
        "trt.sm=[89,90]",
        "model_dir=ü,ö",
        "model_dir='/ü'",
        "model_dir=${oc.env:HOME}/ü",
        "model.name=choice(ü,ö)",
        "--config-dir=/ü",
        "~trt",
        "explain",
        "x=",
    ],
)
def test_other_words_stay_unchanged(word: str) -> None:
    assert add_quotes(word) == word


@given(st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="'\"\\,[]{}()=$"), min_size=1))
def test_any_text_without_syntax_of_hydra_is_read_back_unchanged(value: str) -> None:
    (override,) = OverridesParser.create().parse_overrides([add_quotes(f"model_dir={value}")])
    assert str(override.value()) == value.strip(" \t") or add_quotes(f"model_dir={value}") == f"model_dir={value}"
