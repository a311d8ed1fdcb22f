"""Builds, reads, damage, gc and checks in any order, compared with a plain dictionary."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from cosybuild.store.check import check
from cosybuild.store.gc import collect
from cosybuild.store.key import CacheKey
from cosybuild.store.store import Store
from tests.store.storing import build, key_of, overwrite, rot

CONTENTS = st.sampled_from([b"small", b"x" * 5000, b"y" * 5000, b"shared " * 100])
NUMBERS = st.integers(0, 5).map(str)


class StoreMachine(RuleBasedStateMachine):
    """A model of the store that knows the result of every key; the store must return that result or none.

    Attributes:
        built: the result of the last build of each key.
        sound: keys whose results were not changed since; the store must have these.
    """

    keys: Bundle[CacheKey] = Bundle("keys")

    def __init__(self) -> None:
        super().__init__()
        self.path = Path(tempfile.mkdtemp())
        self.warnings: list[str] = []
        self.store = self.open()
        self.built: dict[str, tuple[CacheKey, bytes]] = {}
        self.sound: set[str] = set()

    def open(self, *, verify: bool = False) -> Store:
        return Store(self.path / "store", verify=verify, warn=self.warnings.append)

    def teardown(self) -> None:
        shutil.rmtree(self.path)

    @rule(target=keys, number=NUMBERS, content=CONTENTS)
    def build(self, number: str, content: bytes) -> CacheKey:
        key = key_of(number=number)
        if (found := self.store.find(key)) is not None:
            assert self.content_of(key) == found.outputs["graph"].path.read_bytes()
            return key
        entry = build(self.store, key, graph=content, side=number.encode())
        assert entry.outputs["graph"].path.read_bytes() == content
        self.built[key.digest] = key, content
        self.sound.add(key.digest)
        return key

    def content_of(self, key: CacheKey) -> bytes:
        return self.built[key.digest][1]

    @rule()
    def another_process(self) -> None:
        self.store.flush()
        self.store = self.open()

    @rule(key=keys, which=st.sampled_from([0, 1]), offset=st.integers(0, 4), quiet=st.booleans())
    def damage_a_content(self, key: CacheKey, which: int, offset: int, quiet: bool) -> None:
        entry = self.store.find(key)
        if entry is None or entry.files[which].size <= offset:
            return
        victim = entry.files[which]
        (rot if quiet else overwrite)(victim.path, offset)
        # Other entries may share it.
        for digest, (other, _) in self.built.items():
            found = self.open().find(other) if not quiet else self.entry_of(other)
            if found is None or any(file.digest == victim.digest for file in found.files):
                self.sound.discard(digest)
        if quiet:
            # Only reading finds the damage, so the store reads the content before it returns it.
            assert check(self.open()).faults

    def entry_of(self, key: CacheKey) -> object:
        return self.open().find(key)

    @rule(key=keys, share=st.floats(0, 1, exclude_max=True))
    def damage_an_entry(self, key: CacheKey, share: float) -> None:
        path = self.store.entry_path(key.stage, key.digest)
        if path.exists():
            overwrite(path, int(path.stat().st_size * share))
            self.sound.discard(key.digest)

    @rule(key=keys, days=st.integers(1, 60))
    def grow_old(self, key: CacheKey, days: int) -> None:
        path = self.store.entry_path(key.stage, key.digest)
        if path.exists():
            when = path.stat().st_mtime - days * 86400
            os.utime(path, (when, when))

    @rule(days=st.integers(1, 60), keep=st.sets(NUMBERS, max_size=3))
    def collect(self, days: int, keep: set[str]) -> None:
        kept = {key_of(number=number).digest for number in keep}
        self.store.flush()
        self.store = self.open()
        before = set(self.sound)
        removed = {each.key_digest for each in collect(self.store, older_than=days * 86400.0, keep=kept).entries}
        assert not removed & kept
        self.sound -= removed
        assert before - removed <= self.sound

    @rule()
    def check(self) -> None:
        check(self.open())
        assert not check(self.open(), repair=False).faults or self.missing()

    def missing(self) -> bool:
        """Return True if the only fault is a missing content, which no check can restore."""
        return all(fault.what == "is missing" for fault in check(self.open(), repair=False).faults)

    @invariant()
    def nothing_wrong_is_given(self) -> None:
        store = self.open()
        for digest, (key, content) in self.built.items():
            entry = store.find(key)
            if entry is not None:
                assert entry.outputs["graph"].path.read_bytes() == content
            assert entry is not None or digest not in self.sound, "what nobody touched is lost"

    @invariant()
    def nothing_is_left_lying_about(self) -> None:
        assert not self.store.path.exists() or not list(self.store.layout.tmp.glob("*"))


StoreMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
test_any_order_of_events = StoreMachine.TestCase
