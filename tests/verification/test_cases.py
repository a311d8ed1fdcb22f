from __future__ import annotations

import json
from dataclasses import replace

import numpy as np

from cosybuild.models.shape_profile import SizeRange
from cosybuild.models.spec import ModelSpec, TensorSpec
from cosybuild.numerics.inputs import Draw, Time
from cosybuild.verification.cases import (
    MOVED,
    Case,
    case_from_facts,
    lowered_cases,
    strict_cases,
    upstream_cases,
)
from tests.numerics.specs import DEFAULT, estimator_spec, text_spec


def lengths(cases: object) -> list[int]:
    return [case.draw.sizes["seq_len"] for case in cases]  # type: ignore[attr-defined]  # a tuple of Case


def test_upstream_mode_gives_ten_random_lengths_with_plain_inputs() -> None:
    cases = upstream_cases(estimator_spec(), (), 0)
    assert len(cases) == 10
    assert all(16 <= length <= 512 for length in lengths(cases))
    assert len(set(lengths(cases))) > 5
    assert not any(case.draw.padded or case.draw.guidance for case in cases)
    assert cases == upstream_cases(estimator_spec(), (), 0)
    assert cases != upstream_cases(estimator_spec(), (), 1)
    assert sorted(case.draw.seed for case in upstream_cases(estimator_spec(), (), 3)) == [*range(3, 13)]
    assert {case.why for case in cases} == {"random length"}
    assert lengths(cases) == sorted(lengths(cases))


def test_upstream_mode_reaches_both_ends_of_its_lengths() -> None:
    found = {length for seed in range(400) for length in lengths(upstream_cases(estimator_spec(), (), seed))}
    assert {16, 512} <= found <= set(range(16, 513))


def test_strict_mode_has_each_octave_and_both_sides_of_the_edges_of_the_profile() -> None:
    cases = strict_cases(estimator_spec(), [DEFAULT], 0)
    found = lengths(cases)
    octaves = sorted(case.draw.sizes["seq_len"] for case in cases if case.why == "random length")
    assert [length.bit_length() for length in octaves] == [5, 6, 7, 8, 9]
    assert {4, 5, 500, 3000} <= set(found)
    assert (min(found), max(found)) == (4, 3000)
    assert {length % 2 for length in found} == {0, 1}
    assert found.count(3000) == 1
    assert not {3, 499, 501, 2999, 3001} & set(found), "nothing is promised outside, and above 1024 a case is dear"


def test_exhaustive_mode_also_has_sizes_beside_long_edges() -> None:
    found = lengths(strict_cases(estimator_spec(), [DEFAULT], 0, exhaustive=True))
    assert {2999, 3000} <= set(found)
    assert 3001 not in found


def test_every_case_has_a_reason_and_its_own_seed_and_kind() -> None:
    spec, profile = estimator_spec("batch"), {"batch": SizeRange(2, 4, 8), "seq_len": SizeRange(4, 24, 64)}
    cases = strict_cases(spec, [profile], 7, {"seq_len": (3, 10, 64, 65)}, {"seq_len": (33,)}, quiet=(12,))
    octaves = [case.draw.sizes["seq_len"] for case in cases if case.why in ("random length", MOVED)]
    assert len(octaves) >= 3, "some of them are the cases that follow"
    assert all(4 <= size <= 64 for size in octaves), "a size that the profile does not hold is moved inside"
    expected = [
        (12, "batch=2 seq_len=4 padded guidance (profile min)"),
        (13, "batch=2 seq_len=5 (above profile min)"),
        (14, "batch=2 seq_len=24 padded (profile opt)"),
        (15, "batch=2 seq_len=64 guidance (profile max)"),
        (16, "batch=2 seq_len=63 t=start (below profile max)"),
        (17, "batch=2 seq_len=10 padded t=end (chunk boundary)"),
        (18, "batch=2 seq_len=64 padded guidance (chunk boundary)"),
        (19, "batch=2 seq_len=16 (batch size)"),
        (20, "batch=3 seq_len=16 padded (batch size)"),
        (21, "batch=4 seq_len=16 guidance (batch size)"),
        (22, "batch=8 seq_len=16 t=start (batch size)"),
        (23, "batch=2 seq_len=33 padded t=end (seen in service)"),
        (24, "batch=2 seq_len=12 quiet (small variances)"),
    ]
    corners = [(case.draw.seed, case.name) for case in cases if case.why not in ("random length", MOVED)]
    assert sorted(corners) == expected
    seeds = [case.draw.seed for case in cases]
    assert len(set(seeds)) == len(seeds)
    assert {*range(12, 25)} <= set(seeds) <= {*range(7, 25)}
    work = [case.draw.sizes["batch"] * case.draw.sizes["seq_len"] for case in cases]
    assert work == sorted(work)
    assert all(case.draw.coarse for case in cases)
    assert not any(case.draw.alike for case in cases)


def test_the_sizes_of_octaves_follow_the_seed() -> None:
    first, again, other = (strict_cases(estimator_spec(), [DEFAULT], seed) for seed in (1, 1, 2))
    assert first == again
    assert lengths(first) != lengths(other)


def test_cases_of_octaves_have_a_batch_of_two() -> None:
    cases = strict_cases(estimator_spec("batch"), [{"batch": SizeRange(1, 4, 8), **DEFAULT}], 0)
    assert {case.draw.sizes["batch"] for case in cases if case.why == "random length"} == {2}


def test_exhaustive_cases_have_distinct_rows_and_kinds() -> None:
    cases = strict_cases(estimator_spec(), [DEFAULT], 0, exhaustive=True)
    assert not any(case.draw.alike for case in cases)
    (longest,) = (case for case in cases if case.why == "profile max")
    assert longest.draw.padded or longest.draw.guidance or longest.draw.time is not Time.any


def test_a_longest_case_of_at_most_1024_frames_is_drawn_like_any_other() -> None:
    for most, alike in ((1024, False), (1025, True)):
        cases = strict_cases(estimator_spec(), [{"seq_len": SizeRange(4, 500, most)}], 0)
        assert [case.draw.alike for case in cases if case.why == "profile max"] == [alike]
        assert (most - 1 in lengths(cases)) is (most - 1 <= 1024)
    assert 1024 in lengths(strict_cases(estimator_spec(), [DEFAULT], 0, {"seq_len": (1024, 1025)}))
    assert 1025 not in lengths(strict_cases(estimator_spec(), [DEFAULT], 0, {"seq_len": (1024, 1025)}))


def test_cases_lie_on_both_sides_of_an_edge_between_two_profiles() -> None:
    pair = [{"seq_len": SizeRange(4, 50, 100)}, {"seq_len": SizeRange(101, 200, 400)}]
    assert {4, 5, 50, 99, 100, 101, 102, 200, 399, 400} <= set(lengths(strict_cases(estimator_spec(), pair, 0)))


def test_a_size_beside_an_edge_can_be_the_edge_of_another_profile() -> None:
    pair = [{"seq_len": SizeRange(4, 50, 100)}, {"seq_len": SizeRange(101, 200, 400)}]
    both = (pair, pair[::-1])  # of two cases with the same kind of input the first is kept
    found = {(c.why, c.draw.sizes["seq_len"]) for profiles in both for c in strict_cases(estimator_spec(), profiles, 0)}
    assert {("above profile max", 101), ("below profile min", 100)} <= found


def test_chunks_may_end_at_the_edges_of_a_profile() -> None:
    cases = strict_cases(estimator_spec(), [{"seq_len": SizeRange(4, 50, 100)}], 0, {"seq_len": (3, 4, 100, 101)})
    assert [case.draw.sizes["seq_len"] for case in cases if case.why == "chunk boundary"] == [4, 100]


def test_the_longest_case_needs_one_row_of_a_reference() -> None:
    cases = strict_cases(estimator_spec(), [DEFAULT], 0)
    assert [case.draw.alike for case in cases] == [case.draw.sizes["seq_len"] == 3000 for case in cases]
    drawn = cases[-1].inputs(estimator_spec())
    assert all((values == values[:1]).all() for values in drawn.values())
    assert drawn["mask"].all()
    rows = strict_cases(text_spec(), [{"batch": SizeRange(2, 2, 2), "length": SizeRange(1, 8, 2000),
                                       "frames": SizeRange(2, 8, 32)}], 0)  # fmt: skip
    assert not any(case.draw.alike for case in rows), "whether rows are independent is not known of any model"


def test_lengths_seen_in_service_become_cases() -> None:
    cases = strict_cases(estimator_spec("batch"), [{"batch": SizeRange(2, 4, 8), **DEFAULT}], 0, {}, {"seq_len": (77,)})
    (case,) = (case for case in cases if case.why == "seen in service")
    assert case.draw.sizes == {"batch": 2, "seq_len": 77}
    short = {"batch": SizeRange(1, 1, 1), "seq_len": SizeRange(4, 20, 64)}
    long = {"batch": SizeRange(2, 4, 8), "seq_len": SizeRange(65, 500, 900)}
    cases = strict_cases(estimator_spec("batch"), [short, long], 0, {}, {"seq_len": (64, 65, 900, 901)})
    expected = [{"batch": n, "seq_len": length} for n, length in ((1, 64), (2, 65), (2, 900))]
    assert all(sizes in [case.draw.sizes for case in cases] for sizes in expected), "as one serves it"
    assert all(case.draw.sizes in expected for case in cases if case.why == "seen in service")


def test_a_case_is_equal_after_conversion_to_plain_data_and_back() -> None:
    for case in strict_cases(estimator_spec(), [DEFAULT], 0):
        assert case_from_facts(json.loads(json.dumps(case.facts()))) == case


def test_a_case_as_data_has_everything_that_determines_its_inputs() -> None:
    draw = Draw(
        {"batch": 2, "seq_len": 9}, 5, True, guidance=True, time=Time.start, coarse=True, quiet=True, alike=True
    )
    facts = Case("profile max", draw).facts()
    assert facts == {
        "why": "profile max", "sizes": {"batch": 2, "seq_len": 9}, "seed": 5, "padded": True, "guidance": True,
        "time": "start", "coarse": True, "quiet": True, "alike": True}  # fmt: skip
    assert case_from_facts(facts) == Case("profile max", draw)
    assert Case("w", Draw({"a": 1}, 0, True, guidance=True, quiet=True)).name == "a=1 padded guidance quiet (w)"


def test_lowered_cases_have_each_kind_once_and_the_sizes_of_profiles() -> None:
    def case(
        length: int, why: str = "random length", batch: int = 2, *, padded: bool = False, quiet: bool = False
    ) -> Case:
        return Case(why, Draw({"batch": batch, "seq_len": length}, padded=padded, quiet=quiet))

    first, longer, padded = case(16), case(20), case(24, padded=True)
    least, wide, longest = case(30, "profile min"), case(64, "profile opt", batch=5000), case(65, "profile max")
    cases = [first, longer, padded, case(8, quiet=True), least, case(30, "profile opt", padded=True), wide, longest]
    assert lowered_cases(cases, 64) == (first, padded, least, wide)
    assert lowered_cases(cases, 65) == (first, padded, least, wide, longest)
    fixed = (Case("fixed sizes", Draw({})), Case("fixed sizes", Draw({"batch": 2000}, padded=True)))
    assert lowered_cases(fixed) == fixed


def test_lowered_cases_count_fine_axes_in_frames() -> None:
    def case(frames: int, why: str = "random length") -> Case:
        return Case(why, Draw({"seq_len": frames, "noise_len": 480 * frames}))

    least, middle, longest = case(4, "profile min"), case(100), case(500, "profile opt")
    cases = [least, case(30), middle, longest]
    assert lowered_cases(cases, 128, {"noise_len": 480}) == (least, middle), "the longest, since the opt is left out"
    assert lowered_cases(cases, 500, {"noise_len": 480}) == (least, longest)
    assert lowered_cases(cases) == tuple(cases[:3]), "samples counted as frames leave the cheapest cases only"


def test_lowered_cases_are_short_and_of_every_kind() -> None:
    cases = strict_cases(estimator_spec(), [DEFAULT], 0)
    chosen = lowered_cases(cases)
    assert {4, 500} <= set(lengths(chosen))
    assert max(lengths(chosen)) <= 1024
    kinds = {(case.draw.padded, case.draw.guidance, case.draw.time) for case in cases if not case.draw.alike}
    assert {(case.draw.padded, case.draw.guidance, case.draw.time) for case in chosen} == kinds
    assert max(lengths(lowered_cases(cases, 128))) <= 128


def test_strict_mode_covers_every_kind_of_input() -> None:
    draws = [case.draw for case in strict_cases(estimator_spec(), [DEFAULT], 0)]
    assert any(d.padded and not d.guidance for d in draws)
    assert any(d.padded and d.guidance for d in draws)
    assert any(d.guidance and not d.padded for d in draws)
    assert {d.time for d in draws} == set(Time)
    assert any(not d.padded and not d.guidance and d.time is Time.any for d in draws)
    assert len({d.seed for d in draws}) == len(draws)


def test_cheap_cases_come_first_and_no_case_occurs_twice() -> None:
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


def test_several_batch_sizes_are_compared_if_the_batch_is_dynamic() -> None:
    profile = {"batch": SizeRange(2, 4, 32), **DEFAULT}
    cases = strict_cases(estimator_spec("batch"), [profile], 0)
    assert {2, 3, 4, 32} == {case.draw.sizes["batch"] for case in cases}
    assert max(case.draw.sizes["batch"] * case.draw.sizes["seq_len"] for case in cases) == 6000
    assert all(case.draw.sizes["batch"] == 2 for case in upstream_cases(estimator_spec("batch"), (), 0))


def test_a_model_without_guidance_or_mask_or_time_has_no_such_cases() -> None:
    profile = {"batch": SizeRange(1, 2, 4), "length": SizeRange(1, 8, 16), "frames": SizeRange(2, 8, 32)}
    cases = strict_cases(text_spec(), [profile], 0)
    assert not any(c.draw.padded or c.draw.guidance or c.draw.time is not Time.any for c in cases)
    assert {1, 2, 4} <= {c.draw.sizes["batch"] for c in cases}


def test_a_model_with_fixed_sizes_has_a_case_of_each_kind() -> None:
    spec = ModelSpec((TensorSpec("x", (1, 80)),), (TensorSpec("y", (1, 5)),))
    assert [case.draw for case in strict_cases(spec, [{}], 3)] == [Draw({}, seed, coarse=True) for seed in range(3, 9)]
    assert strict_cases(spec, [{}], 0)[0].name == "fixed sizes (fixed sizes)"
    assert len(upstream_cases(spec, (), 0)) == 1


def test_fixed_sizes_get_every_kind_of_input() -> None:
    spec = estimator_spec()
    fixed = replace(spec, inputs=tuple(replace(t, shape=t.resolve({"seq_len": 8})) for t in spec.inputs))
    cases = strict_cases(fixed, [{}], 0)
    assert [case.name.partition(" (")[0] for case in cases] == [
        "fixed sizes", "padded", "guidance", "t=start", "padded t=end", "padded guidance"]  # fmt: skip


def test_the_name_of_a_case_describes_its_inputs() -> None:
    spec = estimator_spec()
    case = next(c for c in strict_cases(spec, [DEFAULT], 0) if c.draw.time is Time.end and c.draw.padded)
    assert "padded" in case.name
    assert "t=end" in case.name
    inputs = case.inputs(spec)
    assert inputs["x"].shape[2] == case.draw.sizes["seq_len"]
    assert (inputs["t"] == 1).all()


def test_quiet_cases_have_small_variances_and_are_not_used_for_lowered_graphs() -> None:
    spec = estimator_spec()
    cases = strict_cases(spec, [{"seq_len": SizeRange(4, 24, 64)}], 0, quiet=(24, 48, 96))
    quiet = [case for case in cases if case.draw.quiet]
    assert [case.draw.sizes["seq_len"] for case in quiet] == [24, 48], "no profile serves 96 frames"
    assert {case.why for case in quiet} == {"small variances"}
    inputs = quiet[0].inputs(spec)
    assert all(0 < np.std(inputs[name]) < 0.1 for name in ("x", "mu", "spks", "cond"))
    assert (inputs["mask"] == 1).all()
    assert (inputs["t"] > 0.1).any(), "time is not scaled"
    assert not any(case.draw.quiet for case in lowered_cases(cases))
    assert case_from_facts(quiet[0].facts()) == quiet[0]


def test_quiet_lengths_exist_with_a_dynamic_batch_and_without_profiles() -> None:
    spec, profile = estimator_spec("batch"), {"batch": SizeRange(4, 4, 8), "seq_len": SizeRange(8, 24, 64)}
    elsewhere = {"batch": SizeRange(1, 1, 1), "seq_len": SizeRange(100, 100, 200)}

    def quiet(profiles: list[dict[str, SizeRange]], spec: ModelSpec = spec) -> list[dict[str, int]]:
        cases = strict_cases(spec, profiles, 0, quiet=(7, 8, 64, 65))
        return [dict(case.draw.sizes) for case in cases if case.draw.quiet]

    assert quiet([profile]) == [{"batch": 4, "seq_len": 8}, {"batch": 4, "seq_len": 64}]
    assert quiet([elsewhere, profile]) == quiet([profile]), "beside the smallest batch of the profile that serves them"
    assert [sizes["seq_len"] for sizes in quiet([])] == [7, 8, 64, 65]
    assert {sizes["batch"] for sizes in quiet([])} == {2}
    both = quiet([{"batch": SizeRange(1, 2, 4), "length": SizeRange(1, 8, 16), "frames": SizeRange(2, 8, 64)}],
                 text_spec())  # fmt: skip
    assert both == [{"batch": 1, "length": n, "frames": n} for n in (7, 8)]


def test_each_of_two_dynamic_axes_is_tried_beside_its_edges_alone() -> None:
    profile = {"batch": SizeRange(1, 2, 4), "length": SizeRange(1, 8, 16), "frames": SizeRange(2, 8, 32)}
    cases = strict_cases(text_spec(), [profile], 0, {"frames": (6,)})
    corners = {(case.why, case.draw.sizes["length"], case.draw.sizes["frames"]) for case in cases
               if case.why not in ("random length", MOVED, "batch size")}  # fmt: skip
    assert corners == {("profile min", 1, 2), ("above profile min", 2, 2), ("above profile min", 1, 3),
                       ("profile opt", 8, 8), ("profile max", 16, 32), ("below profile max", 15, 32),
                       ("below profile max", 16, 31), ("chunk boundary", 1, 6)}  # fmt: skip
    assert {(case.draw.sizes["length"], case.draw.sizes["frames"]) for case in cases if case.why == "batch size"} == {
        (8, 8)}  # fmt: skip
