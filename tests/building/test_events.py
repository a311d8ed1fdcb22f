"""The events: they are ordered and written as complete lines, and no error of a sink ends a build."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cosybuild.building.events import Event, EventBus, JsonLines
from tests.building.fakes import FakeClock, in_thread


def read_events(path: Path) -> Iterator[Event]:
    """Return the events of a file in order; every line must be complete."""
    for line in path.read_text(encoding="utf-8").splitlines():
        plain = json.loads(line)
        yield Event(plain.pop("at"), plain.pop("kind"), plain.pop("step"), plain)


def test_every_sink_gets_every_event_in_order() -> None:
    left: list[Event] = []
    right: list[Event] = []
    bus = EventBus([left.append], FakeClock(100.0))
    bus.emit("note", message="only left")
    bus.add(right.append)
    bus.emit("progress", "export", done=1)
    assert left == [
        Event(100.0, "note", None, {"message": "only left"}),
        Event(100.0, "progress", "export", {"done": 1}),
    ]
    assert right == left[1:]


def test_a_fact_may_have_any_name() -> None:
    seen: list[Event] = []
    EventBus([seen.append]).emit("note", "export", kind="a fact", step="another")
    assert seen[0].kind == "note"
    assert seen[0].facts == {"kind": "a fact", "step": "another"}


def test_an_unknown_kind_is_a_defect() -> None:
    with pytest.raises(AssertionError, match="'finnished'"):
        EventBus().emit("finnished")


def test_a_sink_that_cannot_write_is_removed_and_the_others_get_a_warning() -> None:
    seen: list[Event] = []
    calls = []

    def full(event: Event) -> None:
        calls.append(event)
        raise OSError(28, "No space left on device")

    bus = EventBus([full, seen.append])
    bus.emit("note", message="one")
    bus.emit("note", message="two")
    assert len(calls) == 1
    assert [event.kind for event in seen] == ["note", "warning", "note"]
    assert "No space left" in seen[1].facts["message"]


def test_a_closed_stream_does_not_end_a_build(tmp_path: Path) -> None:
    stream = (tmp_path / "console").open("w")
    stream.close()
    log = JsonLines(tmp_path / "events.jsonl")
    bus = EventBus([lambda event: print(event, file=stream), log])
    bus.emit("note", message="one")
    log.close()
    bus.emit("note", message="two")
    assert [event.kind for event in read_events(tmp_path / "events.jsonl")] == ["note", "warning"]


def test_any_other_error_of_a_sink_is_a_defect() -> None:
    def broken(event: Event) -> None:
        raise KeyError("total")

    with pytest.raises(KeyError):
        EventBus([broken]).emit("note")


def test_a_log_file_contains_the_events_that_were_written(tmp_path: Path) -> None:
    path = tmp_path / "run é" / "events.jsonl"
    log = JsonLines(path)
    seen: list[Event] = []
    bus = EventBus([log, seen.append], FakeClock(1.5))
    bus.emit("finished", "engine sm_89", seconds=1.25, outputs={"engine": 7}, message="zwölf\nlines")
    bus.emit("note", where=tmp_path)
    log.close()
    first, second = read_events(path)
    assert first == seen[0]
    assert second.facts == {"where": str(tmp_path)}


def test_an_existing_log_is_continued(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "first" / "events.jsonl"
    for message in ("one", "two"):
        log = JsonLines(path)
        EventBus([log]).emit("note", message=message)
        log.close()
    assert [event.facts["message"] for event in read_events(path)] == ["one", "two"]
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


def test_the_error_names_a_log_that_cannot_be_written(tmp_path: Path) -> None:
    seen: list[Event] = []
    log = JsonLines(tmp_path / "events.jsonl")
    log.close()
    EventBus([seen.append, log], FakeClock(100.0)).emit("note", "export", message="one")
    note, warning = seen
    assert (note.kind, note.step) == ("note", "export")
    assert (warning.at, warning.kind, warning.step) == (100.0, "warning", None)
    assert warning.facts["message"].startswith(
        f"the event log {tmp_path / 'events.jsonl'} cannot be written any more: "
    )


def test_events_of_many_threads_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = JsonLines(path)
    bus = EventBus([log])

    def talk(name: str) -> None:
        for index in range(200):
            bus.emit("progress", name, done=index, padding="x" * 500)

    threads = [in_thread(lambda name=name: talk(name)) for name in "abcd"]  # type: ignore[misc]  # bound default
    for thread in threads:
        thread.join()
    log.close()
    events = list(read_events(path))
    for name in "abcd":
        assert [event.facts["done"] for event in events if event.step == name] == list(range(200))


def test_a_killed_process_leaves_complete_lines(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    code = f"""
from pathlib import Path
from cosybuild.building.events import EventBus, JsonLines
bus = EventBus([JsonLines(Path({str(path)!r}))])
for index in range(10**9):
    bus.emit("progress", "export", done=index, padding="x" * 300)
    if index == 100:
        print("begun", flush=True)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert path.read_bytes().endswith(b"}\n")
    done = [event.facts["done"] for event in read_events(path)]
    assert done == list(range(len(done)))
    assert len(done) > 100
