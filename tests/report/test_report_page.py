"""report.html has every text of report.md, runs nothing, and plays the sounds of a voice in a real browser."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from markdown_it import MarkdownIt

from cosybuild.report.markdown import markdown
from cosybuild.report.report_html import report_html
from cosybuild.run.deliver import EVIDENCE
from cosybuild.run.media import MEDIA, media_in
from cosybuild.verification.voice_media import media_of
from cosybuild.verification.voice_runs import Spoken
from tests.report.browser import needs_browser, opened
from tests.report.test_markdown import HOSTILE, report
from tests.runtime.voice.voices import module_voice


class Page(HTMLParser):
    """The elements, their attributes and the texts of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts += data.split()


def media(name: str = "fp16") -> dict[str, Any]:
    facts, rng = module_voice(2).facts, np.random.default_rng(0)
    tone = 0.3 * np.sin(np.arange(50 * facts.hop) / 15)[np.newaxis]
    exact = Spoken(rng.standard_normal((1, facts.mel, 50)), tone, np.full((1, 50), 250.0))
    form = Spoken(exact.mel + 1e-3, tone + 1e-3, exact.f0)
    made: dict[str, Any] = {"case": f"tokens=25 ({name})", **media_of(exact, {name: form}, facts)}
    return json.loads(json.dumps(made))  # type: ignore[no-any-return]


def named(word: str) -> dict[str, Any]:
    made = report(word)
    return made | {"model": made["model"] | {"name": word}}


def test_no_text_of_the_report_is_missing() -> None:
    plain = named("plain")
    text = Page(MarkdownIt("commonmark").enable("table").render(markdown(plain)))
    shown = Page(report_html(plain)).texts
    heading = markdown(plain).partition("\n")[0].removeprefix("# ").split()
    missing = set(text.texts) - set(shown) - set(heading)
    assert missing == set()


def test_hostile_names_are_text() -> None:
    hostile, plain = (Page(report_html(named(word), media(word))) for word in (HOSTILE, "plain"))
    assert [tag for tag, _ in hostile.elements] == [tag for tag, _ in plain.elements]
    assert not {"script", "iframe", "object", "form"} & {tag for tag, _ in hostile.elements}
    for _, attributes in hostile.elements:
        assert not any(name.startswith("on") for name in attributes)
        assert str(attributes.get("src", "data:")).startswith("data:")
    assert "\u202e" not in "".join(hostile.texts)


def test_artifacts_are_links_inside_the_run_directory() -> None:
    made = named("plain")
    made["artifacts"] = [made["artifacts"][0] | {"path": "artifacts/a b%#.onnx"}]
    links = [attributes["href"] for tag, attributes in Page(report_html(made)).elements if tag == "a"]
    assert "artifacts/a%20b%25%23.onnx" in links


def test_urls_of_other_kinds_are_not_taken_over() -> None:
    made = media()
    made["reference"]["sound"] = "javascript:alert(1)"
    made["forms"][0]["mel"] = 'data:image/png;base64,AAAA" onerror="x'
    page = report_html(named("plain"), made)
    assert "javascript" not in page
    assert "onerror" not in page


@pytest.mark.parametrize("broken", ["", "[]", "{}", '{"forms": 1}', "[" * 10_000, '{"case": 1, "forms": []}'])
def test_damaged_media_are_left_out(broken: str, tmp_path: Path) -> None:
    (tmp_path / EVIDENCE).mkdir()
    path = tmp_path / EVIDENCE / MEDIA
    path.write_text(json.dumps(media()))
    assert media_in(tmp_path) is not None
    path.write_text(broken)
    assert media_in(tmp_path) is None


@needs_browser
def test_the_sounds_play_and_the_pictures_are_drawn(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(report_html(named("plain"), media()), encoding="utf-8")
    with opened(page) as browser:
        browser.set_script_timeout(20)
        heard = browser.execute_async_script("""
            const done = arguments[arguments.length - 1];
            Promise.all([...document.querySelectorAll("audio")].map(async audio => {
                audio.muted = true;
                await audio.play();
                await new Promise(end => audio.addEventListener("ended", end));
                return [audio.duration, audio.currentTime, audio.error];
            })).then(done, error => done(String(error)));""")
        assert heard == [[1, 1, None]] * 2
        widths = browser.execute_script("return [...document.querySelectorAll('img')].map(i => i.naturalWidth)")
        assert widths == [480, 50, 480, 480, 50, 50]
        assert [entry["message"] for entry in browser.get_log("browser")] == []
        browser.set_window_size(700, 900)
        assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
