"""report.html: the report of a run as one page with the sounds and pictures of a voice. It needs no network."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from string import Template
from typing import Any
from urllib.parse import quote

from cosybuild.printable import one_line
from cosybuild.report.assets import asset
from cosybuild.report.markdown import markdown
from cosybuild.report.sounds import sound_section

_ARTIFACT = re.compile(r"<code>(artifacts/[^<]*)</code>")


def report_html(report: Mapping[str, Any], media: Mapping[str, Any] | None = None) -> str:
    """Return the report as an HTML page. The page is made from report.md, so it has the same texts.

    Args:
        report: the content of report.json.
        media: the sounds and pictures that the step `verify voice` made (see `run.media`); None if there are none.
    """
    summary, *rest = re.split(r"(?m)^(?=## )", markdown(report))
    # Leave out the first heading, because the template's header has it.
    sections = [_panel(summary.partition("\n")[2])]
    if media:
        sections.append(f'<section class="panel" id="sounds">\n{sound_section(media)}\n</section>')
    sections += map(_panel, rest)
    return Template(asset("report.html")).substitute(
        title=html.escape(one_line(f"{report['model']['name'] or report['model']['family']}")),
        status=html.escape(one_line(str(report["status"]))),
        style=asset("page.css"),
        sections="\n".join(sections),
    )


def _panel(text: str) -> str:
    from markdown_it import MarkdownIt  # imported late, because most commands write no page

    # Read CommonMark with tables. Show HTML tags in the text as text.
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    body = body.replace("<table>", '<div class="scroll"><table>').replace("</table>", "</table></div>")
    return f'<section class="panel">\n{_ARTIFACT.sub(_link, body)}</section>'


def _link(match: re.Match[str]) -> str:
    return f'<a href="{quote(html.unescape(match[1]))}">{match[0]}</a>'
