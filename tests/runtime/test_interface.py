"""The profile that covers a call, and artifacts that another artifact covers."""

from __future__ import annotations

import pytest

from cosybuild.runtime.interface import Interface, Port, Profile, Span, free_profile


def interface(*ranges: tuple[int, int], batch: tuple[int, int] = (2, 2)) -> Interface:
    """Return an interface with x alone and a profile for each range of T."""
    port = Port("x", "float32", (None if batch[0] != batch[1] else batch[0], 80, None))
    profiles: list[Profile] = [{"x": Span((batch[0], 80, a), (batch[1], 80, b))} for a, b in ranges]
    return Interface((port,), (), tuple(profiles))


@pytest.mark.parametrize(
    ("frames", "chosen"), [(3, None), (4, 1), (500, 1), (501, 0), (3000, 0), (3001, 2), (5000, 2), (5001, None)]
)
def test_the_smallest_covering_profile_is_chosen(frames: int, chosen: int | None) -> None:
    assert interface((4, 3000), (4, 500), (2000, 5000)).choose({"x": (2, 80, frames)}) == chosen


@pytest.mark.parametrize("shape", [(1, 80, 10), (2, 81, 10), (2, 80), (2, 80, 10, 1)])
def test_a_shape_with_another_batch_channel_or_rank_is_in_no_profile(shape: tuple[int, ...]) -> None:
    assert interface((4, 3000)).choose({"x": shape}) is None


def test_a_graph_accepts_any_size_on_its_dynamic_axes_only() -> None:
    port = Port("x", "float32", (2, 80, None))
    graph = Interface((port,), (), (free_profile([port]),))
    assert graph.choose({"x": (2, 80, 10**6)}) == 0
    assert graph.choose({"x": (4, 80, 10)}) is None
    assert graph.describe() == "x 2x80x1..any"


def test_a_wider_artifact_covers_a_narrower_one_and_not_the_reverse() -> None:
    narrow, wide, batch = interface((4, 500)), interface((4, 3000)), interface((4, 3000), batch=(2, 32))
    assert wide.covers(narrow)
    assert not narrow.covers(wide)
    assert batch.covers(wide)
    assert not wide.covers(batch)


def test_a_profile_that_two_others_cover_only_together_is_not_covered() -> None:
    assert not interface((4, 500), (400, 3000)).covers(interface((4, 3000)))
