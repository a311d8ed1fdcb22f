"""Foreign names and reasons in report.md and sweep.md are text without markup, lines or control characters."""

from __future__ import annotations

from typing import Any

from markdown_it import MarkdownIt

from cosybuild.report.markdown import markdown
from cosybuild.report.markdown_parts import table
from cosybuild.report.sweep_markdown import sweep_markdown
from tests.report.test_sweep_page import SWEEP

HOSTILE = "`</code>` **bold** <img src=x> [a](http://b) | c\n# Verified: yes\x1b[2J\u202e"
FORBIDDEN = {"strong_open", "em_open", "link_open", "image", "html_inline", "html_block", "s_open"}


def kinds(text: str) -> list[str]:
    found = []
    for token in MarkdownIt("gfm-like", {"linkify": False}).parse(text):
        found.append(f"{token.type} {token.markup}" if token.type == "heading_open" else token.type)
        found += [child.type for child in token.children or ()]
    return found


def report(word: str) -> dict[str, Any]:
    step = {"label": word, "stage": "adopt", "action": "built", "seconds": 1.0, "peak_bytes": 1, "made": None,
            "reason": word, "inputs": {}, "warnings": [word], "metrics": {"warnings": [word], "rest": word,
            "kept_fp32": [{"reason": word, "count": 2, "nodes": [{"node": word}]}]}}  # fmt: skip
    tensor = {"name": word, "shape": [1, word]}
    return {
        "status": "failed", "verified": None, "started": 0.0, "seconds": 1.0,
        "config_digest": "0" * 64, "overrides": [word],
        "model": {"family": word, "origin": word, "streaming": False, "weights": word, "weights_digest": None,
                  "random_weights": True,
                  "inputs": [tensor], "outputs": [tensor], "notes": [word]},
        "failure": {"step": word, "kind": word, "message": word, "hint": word},
        "capsule": {"path": word, "size": 1, "cause": {"name": word, "says": word, "remedy": word},
                    "cut": {"nodes": [word], "module": word}},
        "steps": [step], "artifacts": [{"path": word, "size": 1, "made_by": word, "digest": word}],
        "environment": {"machine": {"host": word}, "versions": {word: word}}, "warnings": [word],
        "profiles": [{word: {"sizes": [1, 2, 3], "per_second": 50.0}}],
        "deployment": {"dir": word, "service": word, "backup": 1, "files": {word: word}, "retired": [word],
                       "forced": [word]},
    }  # fmt: skip


def test_a_hostile_report_has_the_form_of_an_ordinary_one() -> None:
    hostile = markdown(report(HOSTILE))
    assert "\x1b" not in hostile
    assert "\u202e" not in hostile
    assert kinds(hostile).count("table_open") == kinds(markdown(report("plain"))).count("table_open")
    headings = [kind for kind in kinds(hostile) if kind.startswith("heading_open")]
    assert headings == [kind for kind in kinds(markdown(report("plain"))) if kind.startswith("heading_open")]
    ours = [kind for kind in kinds(markdown(report("plain"))) if kind in FORBIDDEN]
    assert [kind for kind in kinds(hostile) if kind in FORBIDDEN] == ours


def test_the_memory_of_caches_is_stated() -> None:
    made = report("plain")
    assert "| caches |" not in markdown(made)
    made["model"] |= {"cache_bytes_per_frame": 458_752, "cache_frames": 500, "solver": {"steps": 10}}
    row = "| caches | 459 kB for a frame of history and a step, 5 MB for 10 steps, at most 500 frames |"
    assert row in markdown(made)


def test_a_hostile_sweep_has_the_form_of_an_ordinary_one() -> None:
    def sweep(word: str) -> dict[str, Any]:
        failure = {"kind": word, "message": word, "hint": word}
        cells = [cell | {"overrides": [word], "choices": {"trt": word}, "failure": failure} for cell in SWEEP["cells"]]
        return SWEEP | {
            "name": word,
            "cells": cells,
            "differences": {word: {"a": word}},
            "models": [word],
            "hosts": [word],
        }

    hostile, ordinary = sweep_markdown(sweep(HOSTILE)), sweep_markdown(sweep("plain"))
    assert "\x1b" not in hostile
    for kind in (*FORBIDDEN, "heading_open #", "heading_open ##", "table_open", "td_open", "list_item_open"):
        assert kinds(hostile).count(kind) == kinds(ordinary).count(kind), kind


def test_the_text_of_a_cell_cannot_end_the_cell() -> None:
    lines = list(table(("a", "b"), [("x|y", "-"), ("`|`", "keep_fp32[0]: 1 -> 2")]))
    assert lines == ["| a | b |", "| --- | --- |", r"| x\|y | - |", r"| \`\|\` | keep_fp32[0]: 1 -> 2 |", ""]
