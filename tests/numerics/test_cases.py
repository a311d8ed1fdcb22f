from __future__ import annotations

import json

import numpy as np

from cosybuild.models.profile import SizeRange
from cosybuild.models.spec import ModelSpec, TensorSpec
from cosybuild.numerics.cases import case_from_facts, lowered_cases, strict_cases, upstream_cases
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


def test_strict_has_a_length_of_every_octave_and_the_profile_with_both_sides_of_its_edges() -> None:
    cases = strict_cases(estimator_spec(), [DEFAULT], 0)
    found = lengths(cases)
    octaves = sorted(case.draw.sizes["seq_len"] for case in cases if case.why == "random length")
    assert [length.bit_length() for length in octaves] == [5, 6, 7, 8, 9]
    assert {4, 5, 500, 3000} <= set(found)
    assert (min(found), max(found)) == (4, 3000)
    assert {length % 2 for length in found} == {0, 1}
    assert found.count(3000) == 1
    assert not {3, 499, 501, 2999, 3001} & set(found), "nothing is promised outside, and above 1024 a case is dear"


def test_beside_a_long_edge_too_where_everything_is_asked_for() -> None:
    found = lengths(strict_cases(estimator_spec(), [DEFAULT], 0, exhaustive=True))
    assert {2999, 3000} <= set(found)
    assert 3001 not in found


def test_both_sides_of_an_edge_between_two_profiles() -> None:
    pair = [{"seq_len": SizeRange(4, 50, 100)}, {"seq_len": SizeRange(101, 200, 400)}]
    assert {4, 5, 50, 99, 100, 101, 102, 200, 399, 400} <= set(lengths(strict_cases(estimator_spec(), pair, 0)))


def test_the_longest_case_needs_one_row_of_a_reference() -> None:
    cases = strict_cases(estimator_spec(), [DEFAULT], 0)
    assert [case.draw.alike for case in cases] == [case.draw.sizes["seq_len"] == 3000 for case in cases]
    drawn = cases[-1].inputs(estimator_spec())
    assert all((values == values[:1]).all() for values in drawn.values())
    assert drawn["mask"].all()
    rows = strict_cases(text_spec(), [{"batch": SizeRange(2, 2, 2), "length": SizeRange(1, 8, 2000),
                                       "frames": SizeRange(2, 8, 32)}], 0)  # fmt: skip
    assert not any(case.draw.alike for case in rows), "whether rows are independent is not known of any model"


def test_lengths_seen_in_service() -> None:
    cases = strict_cases(estimator_spec("batch"), [{"batch": SizeRange(2, 4, 8), **DEFAULT}], 0, {}, {"seq_len": (77,)})
    (case,) = (case for case in cases if case.why == "seen in service")
    assert case.draw.sizes == {"batch": 2, "seq_len": 77}


def test_a_case_survives_the_way_through_plain_data() -> None:
    for case in strict_cases(estimator_spec(), [DEFAULT], 0):
        assert case_from_facts(json.loads(json.dumps(case.facts()))) == case


def test_lowered_cases_are_short_and_of_every_kind() -> None:
    cases = strict_cases(estimator_spec(), [DEFAULT], 0)
    chosen = lowered_cases(cases)
    assert {4, 500} <= set(lengths(chosen))
    assert max(lengths(chosen)) <= 1024
    kinds = {(case.draw.padded, case.draw.guidance, case.draw.time) for case in cases if not case.draw.alike}
    assert {(case.draw.padded, case.draw.guidance, case.draw.time) for case in chosen} == kinds
    assert max(lengths(lowered_cases(cases, 128))) <= 128


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
    assert {9, 10, 11, 100, 599, 600} <= set(lengths(strict_cases(estimator_spec(), [DEFAULT, streaming], 0)))


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


def test_quiet_cases_have_small_variances_and_lowered_graphs_are_spared_them() -> None:
    spec = estimator_spec()
    cases = strict_cases(spec, [{"seq_len": SizeRange(4, 24, 64)}], 0, quiet=(24, 48, 96))
    quiet = [case for case in cases if case.draw.quiet]
    assert [case.draw.sizes["seq_len"] for case in quiet] == [24, 48], "no profile serves 96 frames"
    inputs = quiet[0].inputs(spec)
    assert all(0 < np.std(inputs[name]) < 0.1 for name in ("x", "mu", "spks", "cond"))
    assert (inputs["mask"] == 1).all()
    assert (inputs["t"] > 0.1).any(), "time is not scaled"
    assert not any(case.draw.quiet for case in lowered_cases(cases))
    assert case_from_facts(quiet[0].facts()) == quiet[0]
