"""report.html: the report of a run as one page that needs no network, with the sounds and pictures of a voice."""

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
    """Return the report as a page. It has every text of report.md, because it is made from that.

    Args:
        report: the content of report.json.
        media: the sounds and pictures that `verify voice` made; None if there are none.
    """
    summary, *rest = re.split(r"(?m)^(?=## )", markdown(report))
    # The page has the first heading in its header.
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
    from markdown_it import MarkdownIt  # only a run that has something to report pays for the import

    # CommonMark with tables; HTML in the text stays text.
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    body = body.replace("<table>", '<div class="scroll"><table>').replace("</table>", "</table></div>")
    return f'<section class="panel">\n{_ARTIFACT.sub(_link, body)}</section>'


def _link(match: re.Match[str]) -> str:
    return f'<a href="{quote(html.unescape(match[1]))}">{match[0]}</a>'
