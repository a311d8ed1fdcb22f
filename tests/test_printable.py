"""No foreign text controls a terminal, begins markup, or has a special meaning in a shell."""

from __future__ import annotations

import subprocess
import unicodedata
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from cosybuild.printable import code, everywhere, one_line, paragraph, shell, text, visible

FOREIGN = st.text(max_size=40) | st.text(alphabet="`*_[]()<>#|\\~&;!:-+=1. \n\t\x1b\x9b\u202eab", max_size=20)
COMMONMARK = MarkdownIt("gfm-like", {"linkify": False})


def controls(shown: str) -> list[str]:
    return [char for char in shown if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")]


@pytest.mark.attack("deceive", "only printable characters are shown")
@given(FOREIGN)
def test_shown_text_cannot_control_the_terminal(value: str) -> None:
    assert set(controls(visible(value))) <= {"\n", "\t"}
    assert controls(one_line(value)) == []
    assert visible(visible(value)) == visible(value)


@pytest.mark.attack("deceive", "only printable characters are shown")
@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("\x1b[2Jgone", r"\x1b[2Jgone"),
        ("\x9b31m", r"\x9b31m"),
        ("safe\rfalse", r"safe\rfalse"),
        ("gnp\u202eexe", r"gnp\u202eexe"),
        ("a\u2066b", r"a\u2066b"),
        ("a\ufeffb", r"a\ufeffb"),
        ("a\ud800b", r"a\ud800b"),
        ("a\uffffb\ufdd0", r"a\uffffb\ufdd0"),
        ("zoë 店 नमस्ते 👩\u200d🔬", "zoë 店 नमस्ते 👩\u200d🔬"),
    ],
)
def test_invisible_characters_become_escapes_and_ordinary_text_stays_unchanged(value: str, shown: str) -> None:
    assert visible(value) == shown


def inline(markdown: str) -> list[tuple[str, str]]:
    """Return the kinds and contents of the Markdown tokens of one paragraph."""
    tokens = COMMONMARK.parse(markdown)
    assert [t.type for t in tokens] in ([], ["paragraph_open", "inline", "paragraph_close"]), markdown
    return [(child.type, child.content) for token in tokens if token.children for child in token.children]


@pytest.mark.attack("deceive", "only printable characters are shown")
@given(FOREIGN)
def test_text_and_paragraphs_contain_no_markup(value: str) -> None:
    for found in (inline(f"x {text(value)} x"), inline(paragraph(value))):
        assert {kind for kind, _ in found} <= {"text", "text_special", "softbreak"}
    shown = "".join(content for _, content in inline(f"x{text(value)}x"))
    assert shown == f"x{one_line(value)}x"


@pytest.mark.attack("deceive", "only printable characters are shown")
@given(FOREIGN)
def test_a_code_span_is_one_span_with_the_whole_text(value: str) -> None:
    (before, span, after) = inline(f"x{code(value)}x")
    assert (before, after) == (("text", "x"), ("text", "x"))
    assert span[0] == "code_inline"
    assert span[1].strip() == one_line(value).strip()


@pytest.mark.attack("deceive", "only printable characters are shown")
@given(st.lists(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), max_size=12), max_size=3))
def test_a_shell_line_has_no_invisible_character(words: list[str]) -> None:
    assert controls(shell(words)) == []


def test_a_shell_reads_the_words_again() -> None:
    words = [
        "plain",
        "a b",
        "it's",
        "$(touch x)",
        "`id`",
        "\x1b[2J7",
        "two\nlines",
        "gnp\u202eexe",
        "\\'\t",
        "--help",
        "",
    ]
    ran = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {shell(words)}"], capture_output=True, check=True, encoding="utf-8"
    )
    assert ran.stdout.split("\0")[:-1] == words


@pytest.mark.attack("deceive", "only printable characters are shown")
def test_data_for_a_page_is_escaped_at_every_depth() -> None:
    assert everywhere({"a\x1b": ["b\u202e", {"c": ("d\r", 1, None)}]}) == {
        r"a\x1b": [r"b\u202e", {"c": [r"d\r", 1, None]}]
    }


@pytest.mark.parametrize("code", [*range(0x20), 0x7F, 0x9B, 0x2028, 0xD800, 0xFDD0, 0xFFFE, 0xFFFF, 0x1FFFF])
def test_shown_text_is_allowed_in_xml(code: int) -> None:
    element = ElementTree.Element("testcase", {"name": visible(f"a{chr(code)}b")})
    assert ElementTree.fromstring(ElementTree.tostring(element)).get("name", "").startswith("a")  # noqa: S314  # made here
