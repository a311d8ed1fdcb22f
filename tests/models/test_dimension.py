from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosybuild.models.dimension import size_of, symbols_of, terms_of, text_of, with_sizes


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("n", {"n": 1}),
        ("past + 1", {"past": 1, "": 1}),
        ("2*frames-1", {"frames": 2, "": -1}),
        ("a + b + a", {"a": 2, "b": 1}),
        ("3", None),
        ("two words", None),
        ("a*b", None),
        ("a + ", None),
        ("", None),
        ("a ++ b", None),
    ],
)
def test_a_sum_is_read_term_by_term(text: str, terms: dict[str, int] | None) -> None:
    assert terms_of(text) == terms


@given(st.integers(1, 9), st.integers(0, 9), st.integers(0, 99), st.integers(0, 99))
def test_a_size_follows_from_the_sizes_of_its_symbols(factor: int, plus: int, a: int, b: int) -> None:
    text = f"{factor} * a + b + {plus}"
    assert symbols_of(text) == ("a", "b")
    assert size_of(text, {"a": a, "b": b}) == factor * a + b + plus


def test_a_symbol_of_a_file_that_is_no_sum_is_a_symbol_itself() -> None:
    assert symbols_of("two words") == ("two words",)
    assert size_of("two words", {"two words": 3}) == 3
    with pytest.raises(KeyError):
        size_of("two words", {})


@given(
    st.dictionaries(st.sampled_from(["a", "b", "c"]), st.integers(-9, 9).filter(bool), min_size=1), st.integers(-9, 9)
)
def test_the_text_of_a_sum_is_read_as_the_same_sum(factors: dict[str, int], constant: int) -> None:
    terms = {**factors, **({"": constant} if constant else {})}
    assert terms_of(str(text_of(terms))) == terms


def test_a_symbol_with_a_size_leaves_a_sum_of_the_others() -> None:
    assert with_sizes("2*a - b + c", {"c": 3}) == "2*a - b + 3"
    assert with_sizes("b - a", {"b": 3}) == "- a + 3"
    assert with_sizes("a - a", {"a": 3}) == 0
