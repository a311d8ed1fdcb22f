from __future__ import annotations

from cosybuild.models.profile import SizeRange
from cosybuild.models.spec import ModelSpec, TensorSpec
from cosybuild.numerics.cases import strict_cases, upstream_cases
from cosybuild.numerics.inputs import Time
from tests.numerics.specs import DEFAULT, estimator_spec, text_spec


def lengths(cases: object) -> list[int]:
    return [case.draw.sizes["seq_len"] for case in cases]  # type: ignore[attr-defined]  # a tuple of Case


def test_upstream_is_ten_random_lengths_with_plain_inputs() -> None:
    cases = upstream_cases(estimator_spec(), 0)
    assert len(cases) == 10
    assert all(16 <= length <= 512 for length in lengths(cases))
    assert len(set(lengths(cases))) > 5
    assert not any(case.draw.padded or case.draw.guidance for case in cases)
    assert cases == upstream_cases(estimator_spec(), 0)
    assert cases != upstream_cases(estimator_spec(), 1)


def test_upstream_reaches_both_ends() -> None:
    found = {length for seed in range(400) for length in lengths(upstream_cases(estimator_spec(), seed))}
    assert {16, 512} <= found


def test_strict_has_upstreams_lengths_and_the_profile_with_its_neighbours() -> None:
    cases = strict_cases(estimator_spec(), [DEFAULT], 0)
    found = lengths(cases)
    assert set(lengths(upstream_cases(estimator_spec(), 0))) <= set(found)
    assert {4, 5, 499, 500, 501, 3000} <= set(found)
    assert max(found) == 3000
    assert min(found) == 4
    assert {length % 2 for length in found} == {0, 1}


def test_strict_covers_every_kind_of_input() -> None:
    draws = [case.draw for case in strict_cases(estimator_spec(), [DEFAULT], 0)]
    assert any(d.padded and not d.guidance for d in draws)
    assert any(d.padded and d.guidance for d in draws)
    assert any(d.guidance and not d.padded for d in draws)
    assert {d.time for d in draws} == set(Time)
    assert any(not d.padded and not d.guidance and d.time is Time.any for d in draws)
    assert len({d.seed for d in draws}) == len(draws)


def test_cheap_cases_come_first_and_none_twice() -> None:
    cases = strict_cases(estimator_spec(), [DEFAULT, DEFAULT], 0)
    assert lengths(cases) == sorted(lengths(cases))
    keys = [(*case.draw.sizes.items(), case.draw.padded, case.draw.guidance, case.draw.time) for case in cases]
    assert len(set(keys)) == len(keys)


def test_every_profile_is_covered() -> None:
    streaming = {"seq_len": SizeRange(10, 100, 600)}
    assert {10, 11, 99, 100, 101, 599, 600} <= set(lengths(strict_cases(estimator_spec(), [DEFAULT, streaming], 0)))


def test_a_profile_of_one_size_asks_for_that_size_only() -> None:
    fixed = {"seq_len": SizeRange(64, 64, 64)}
    corner = [case for case in strict_cases(estimator_spec(), [fixed], 0) if case.why != "random length"]
    assert set(lengths(corner)) == {64}


def test_chunk_ends_are_compared_where_the_profile_has_them() -> None:
    cases = strict_cases(estimator_spec(), [DEFAULT], 0, {"seq_len": (49, 50, 51, 5000)})
    assert {49, 50, 51} <= {case.draw.sizes["seq_len"] for case in cases if case.why == "chunk boundary"}
    assert 5000 not in lengths(cases)


def test_several_batch_sizes_where_the_batch_varies() -> None:
    profile = {"batch": SizeRange(2, 4, 32), **DEFAULT}
    cases = strict_cases(estimator_spec("batch"), [profile], 0)
    assert {2, 3, 4, 32} == {case.draw.sizes["batch"] for case in cases}
    assert max(case.draw.sizes["batch"] * case.draw.sizes["seq_len"] for case in cases) == 6000
    assert all(case.draw.sizes["batch"] == 2 for case in upstream_cases(estimator_spec("batch"), 0))


def test_a_model_without_guidance_mask_or_time_gets_none() -> None:
    profile = {"batch": SizeRange(1, 2, 4), "length": SizeRange(1, 8, 16), "frames": SizeRange(2, 8, 32)}
    cases = strict_cases(text_spec(), [profile], 0)
    assert not any(c.draw.padded or c.draw.guidance or c.draw.time is not Time.any for c in cases)
    assert {1, 2, 4} <= {c.draw.sizes["batch"] for c in cases}


def test_a_model_without_any_varying_size() -> None:
    spec = ModelSpec((TensorSpec("x", (1, 80)),), (TensorSpec("y", (1, 5)),))
    assert len({case.draw.seed for case in strict_cases(spec, [{}], 0)}) == 6
    assert strict_cases(spec, [{}], 0)[0].name == "fixed sizes (fixed sizes)"
    assert len(upstream_cases(spec, 0)) == 1


def test_a_case_is_named_for_people_and_draws_what_it_says() -> None:
    spec = estimator_spec()
    case = next(c for c in strict_cases(spec, [DEFAULT], 0) if c.draw.time is Time.end and c.draw.padded)
    assert "padded" in case.name
    assert "t=end" in case.name
    inputs = case.inputs(spec)
    assert inputs["x"].shape[2] == case.draw.sizes["seq_len"]
    assert (inputs["t"] == 1).all()
