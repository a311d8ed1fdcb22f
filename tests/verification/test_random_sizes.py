"""Random sizes are the same with and without profiles unless the profiles are said to change them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cosybuild.models.shape_profile import SizeRange
from cosybuild.verification.cases import MOVED, strict_cases, upstream_cases
from cosybuild.verification.random_sizes import depends_on_profiles
from tests.numerics.specs import estimator_spec


@given(
    low=st.integers(1, 24),
    high=st.integers(24, 700),
    multiple=st.sampled_from([1, 1, 2, 8]),
    seed=st.integers(0, 9),
    batch=st.booleans(),
)
def test_random_sizes_differ_only_where_profiles_are_said_to_change_them(
    low: int, high: int, multiple: int, seed: int, batch: bool
) -> None:
    spec = estimator_spec("batch") if batch else estimator_spec()
    size = SizeRange(low * multiple, low * multiple, max(low, high) * multiple, multiple)
    profile = {"seq_len": size, **({"batch": SizeRange(2, 2, 4)} if batch else {})}
    moved = upstream_cases(spec, [profile], seed) != upstream_cases(spec, (), seed)
    assert depends_on_profiles(spec, [profile], seed, upstream=True) >= moved
    drawn = [case for case in strict_cases(spec, [profile], seed) if case.why == MOVED]
    assert depends_on_profiles(spec, [profile], seed, upstream=False) >= bool(drawn)


def test_the_default_range_does_not_change_random_sizes() -> None:
    for least, most, differs in ((4, 3000, False), (4, 512, False), (5, 3000, True), (4, 511, True)):
        profile = {"seq_len": SizeRange(least, 500 if most > 500 else least, most)}
        assert depends_on_profiles(estimator_spec(), [profile], 0, upstream=True) == differs
