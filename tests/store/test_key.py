"""Keys: different ingredients never give the same key, and irrelevant changes never give another one."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosybuild.building.plan import key_of
from cosybuild.store.key import ABSENT, CacheKey, Reason, flatten
from cosybuild.system.environment import Environment
from tests.building.fakes import FakeStage

NAMES = st.text(alphabet="ab.[]0\\", max_size=4) | st.text(max_size=3)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-2, 2)
    | st.integers()
    | st.floats(allow_nan=False)
    | st.sampled_from(["", "1", "true", "null", "{}", "[]", "1.0", "NaN", ABSENT])
    | st.text(max_size=4)
)
TREES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=8
)


def exactly(tree: Any) -> str:
    """Return a text that is equal only for equal trees: with types, and mappings sorted by name."""
    if isinstance(tree, dict):
        return "{" + ",".join(f"{name!r}:{exactly(tree[name])}" for name in sorted(tree)) + "}"
    if isinstance(tree, list):
        return "[" + ",".join(map(exactly, tree)) + "]"
    return repr(tree)


def shuffled(tree: Any, order: random.Random) -> Any:
    if isinstance(tree, dict):
        names = list(tree)
        order.shuffle(names)
        return {name: shuffled(tree[name], order) for name in names}
    return [shuffled(item, order) for item in tree] if isinstance(tree, list) else tree


@given(TREES, TREES)
def test_two_different_trees_give_different_parts(left: Any, right: Any) -> None:
    same = dict(flatten("settings", left)) == dict(flatten("settings", right))
    assert same == (exactly(left) == exactly(right))


@given(TREES)
def test_no_two_leaves_of_a_tree_share_a_name(tree: Any) -> None:
    names = [name for name, _ in flatten("settings", tree)]
    assert len(set(names)) == len(names)


@given(TREES, st.randoms(use_true_random=False))
def test_the_order_of_names_and_the_kind_of_sequence_do_not_matter(tree: Any, order: random.Random) -> None:
    def tuples(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: tuples(item) for name, item in value.items()}
        return tuple(map(tuples, value)) if isinstance(value, list) else value

    assert dict(flatten("settings", tuples(shuffled(tree, order)))) == dict(flatten("settings", tree))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ({"a": {"b": 1}}, {"a.b": 1}),
        ({"a": [1]}, {"a[0]": 1}),
        ({"a": {"b": 1}}, {"a\\": {"b": 1}}),
        ({"a\\": {"b": 1}}, {"a\\.b": 1}),
        ([], {}),
        ([], "[]"),
        ({}, "{}"),
        ({}, None),
        ({"a": {}}, {}),
        ({"a": None}, {}),
        ([[1], [2]], [[1, 2]]),
        ([[]], []),
        ("1", 1),
        (True, 1),
        (False, 0),
        (1, 1.0),
        (0.0, -0.0),
        (None, "null"),
        (float("nan"), "NaN"),
        (float("nan"), None),
        (float("inf"), float("nan")),
        (1e22, 10**22),
        (0.1, 0.1 + 2**-56),
        ({"": 1}, 1),
        ({"": {"": 1}}, {".": 1}),
    ],
)
def test_similar_trees_give_different_parts(left: Any, right: Any) -> None:
    assert dict(flatten("settings", left)) != dict(flatten("settings", right))


def test_nan_is_one_value() -> None:
    assert dict(flatten("settings", float("nan"))) == dict(flatten("settings", -float("nan")))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({1: "a"}, "settings: the name 1 is a int; a key's names are text"),
        ({None: 1}, "settings: the name None is a NoneType"),
        ({"a": b"x"}, r"settings\.a: b'x' is a bytes; a key holds plain data only"),
        ({"a": [1, {2}]}, r"settings\.a\[1\]: \{2\} is a set"),
        (1j, "settings: 1j is a complex"),
    ],
)
def test_data_that_is_not_plain_is_refused(value: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        dict(flatten("settings", value))


def test_a_tree_has_the_expected_parts() -> None:
    """With another text for the same settings, every store would be useless."""
    tree = {"opset": 18, "sizes": [4, [0.5, True]], "none": {}, "empty": (), "a.b": {"c[": None}, "é": "ü\n"}
    assert dict(flatten("settings", tree)) == {
        "settings.opset": "18",
        "settings.sizes[0]": "4",
        "settings.sizes[1][0]": "0.5",
        "settings.sizes[1][1]": "true",
        "settings.none": "{}",
        "settings.empty": "[]",
        r"settings.a\.b.c\[": "null",
        "settings.é": '"ü\\n"',
    }
    key = CacheKey("export", dict(flatten("settings", tree)))
    assert key.digest == "deccc7c4bbeb08655a19f8ba8a12fcba6448e0d98b03466c5a32979db4021830"


@given(
    st.dictionaries(st.text(max_size=4), st.text(max_size=4)), st.dictionaries(st.text(max_size=4), st.text(max_size=4))
)
def test_a_digest_belongs_to_one_set_of_parts(left: dict[str, str], right: dict[str, str]) -> None:
    assert (CacheKey("export", left).digest == CacheKey("export", right).digest) == (left == right)
    assert CacheKey("export", left).digest != CacheKey("simplify", left).digest


@given(
    st.dictionaries(st.text(max_size=3), st.text(max_size=3)), st.dictionaries(st.text(max_size=3), st.text(max_size=3))
)
def test_reasons_name_exactly_what_differs(new: dict[str, str], old: dict[str, str]) -> None:
    reasons = CacheKey("export", new).diff(CacheKey("export", old))
    differing = {name for name in new.keys() | old.keys() if (name in new) != (name in old) or new[name] != old[name]}
    # a part with the text for "absent" would look absent; settings are quoted, so there is none
    assert {reason.part for reason in reasons} == {n for n in differing if (new.get(n) or "") != ABSENT}
    assert [reason.part for reason in reasons] == sorted(reason.part for reason in reasons)


def test_a_reason_reads_as_a_sentence() -> None:
    digests = "a" * 64, "b" * 64
    assert str(Reason("input.graph", *digests)) == f"input.graph: {'a' * 12} -> {'b' * 12}"
    assert str(Reason("settings.opset", "17", "18")) == "settings.opset: 17 -> 18"
    assert str(Reason("settings.nodes", "x" * 60, "y" * 61)) == f"settings.nodes: {'x' * 60} -> {'y' * 59}…"
    # Hexadecimal digits that are no digest, and 64 letters that are not hexadecimal.
    assert str(Reason("a", "0123456789abcdef", "X" * 64)) == f"a: 0123456789abcdef -> {'X' * 59}…"


def test_a_part_that_one_key_lacks_is_absent_in_the_reason() -> None:
    new, old = CacheKey("export", {"b": "2"}), CacheKey("export", {"a": "1"})
    assert new.diff(old) == (Reason("a", "1", ABSENT), Reason("b", ABSENT, "2"))


SETTINGS = st.dictionaries(st.sampled_from(["opset", "rounds", "path", "log", "name"]), TREES, max_size=5)


@given(SETTINGS, SETTINGS)
def test_only_what_a_stage_reads_is_in_its_key(old: dict[str, Any], new: dict[str, Any]) -> None:
    stage = FakeStage("export", makes=("graph",), reads=("opset", "rounds"))
    keys = [key_of(stage, request, Environment(), {}) for request in (old, new)]
    relevant = [{name: r[name] for name in ("opset", "rounds") if name in r} for r in (old, new)]
    assert (keys[0].digest == keys[1].digest) == (exactly(relevant[0]) == exactly(relevant[1]))


@given(st.sampled_from(["exporter", "simplifier", "driver"]), st.text(alphabet="0123456789.", min_size=1, max_size=5))
def test_only_the_environment_that_a_stage_uses_is_in_its_key(name: str, version: str) -> None:
    stage = FakeStage("export", uses=("exporter",))
    before = Environment(versions={"exporter": "x", "simplifier": "x", "driver": "x"})
    after = Environment(versions={**before.versions, name: version})
    changed = key_of(stage, {}, after, {}).diff(key_of(stage, {}, before, {}))
    assert [r.part for r in changed] == (["environment.exporter"] if name == "exporter" else [])


def test_version_and_outputs_are_in_the_key() -> None:
    old = key_of(FakeStage("export", makes=("graph",)), {}, Environment(), {})
    new = key_of(FakeStage("export", makes=("graph", "log"), version=2), {}, Environment(), {})
    assert [str(r) for r in new.diff(old)] == ["stage.makes: graph -> graph,log", "stage.version: 1 -> 2"]
