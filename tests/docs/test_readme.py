"""README.md and README.zh-CN.md have the same commands, valid links, and existing scripts."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import ROOT, blocks

PAGES = ("README.md", "README.zh-CN.md")
TEXTS = {name: (ROOT / name).read_text(encoding="utf-8") for name in PAGES}


def commands(name: str) -> list[str]:
    """Return every command of a page without its comment; `# run` and `# test` are marks and stay."""
    lines = [line for block in blocks(ROOT / name) if block.language == "sh" for line in block.text.splitlines()]
    return [re.sub(r"\s+# (?!(run|test)$).*", "", line) for line in lines]


def test_both_readmes_have_the_same_commands() -> None:
    assert commands("README.md") == commands("README.zh-CN.md")
    assert len(commands("README.md")) >= 5


@pytest.mark.parametrize("pattern", [r"`([^`\n]+)`", r"\]\(([^)]+)\)", r"\d+(?:[.,]\d+)*", r"^#+ ", r"^\|"])
def test_both_readmes_have_the_same_code_and_links_and_figures_and_parts(pattern: str) -> None:
    found = [sorted(re.findall(pattern, text, flags=re.MULTILINE)) for text in TEXTS.values()]
    # Each page links to the other.
    english, chinese = ([one for one in each if not str(one).startswith("README")] for each in found)
    assert english == chinese


@pytest.mark.parametrize("name", PAGES)
def test_links_and_pictures_have_existing_targets(name: str) -> None:
    targets = [target for target in re.findall(r"\]\(([^)#]+)", TEXTS[name]) if "://" not in target]
    assert [target for target in targets if not (ROOT / target).exists()] == []


@pytest.mark.parametrize("name", PAGES)
def test_the_two_commands_of_ci_are_in_the_readme(name: str) -> None:
    for mark in ("run", "test"):
        assert len(re.findall(rf"^.*\S +# {mark}$", TEXTS[name], flags=re.MULTILINE)) == 1


@pytest.mark.parametrize("path", [*PAGES, "docs/benchmarks.md", "CONTRIBUTING.md"])
def test_scripts_that_are_named_exist(path: str) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    named = re.findall(r"((?:benchmarks|scripts)/\w+(?:\.py)?)\b(?!/)", text)
    assert [name for name in named if not (ROOT / name).is_file()] == []
