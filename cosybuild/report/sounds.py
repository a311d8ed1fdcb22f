"""The sounds and pictures of one utterance as HTML: players, log-mel spectrograms, errors, and the error by frame.

`verification.voice_media` makes this data, but it is read from a store to which other people may write. `run.media`
checks the types of the fields, and this module checks the URLs.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cosybuild.printable import one_line

_URL = re.compile(r"data:(audio/wav|image/png);base64,[A-Za-z0-9+/]*={0,2}")
_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 640, 150, 56, 22


def sound_section(media: Mapping[str, Any]) -> str:
    """Return the section on one utterance: first the float64 reference, then each form of the voice.

    A form is a choice of artifacts for the parts of the voice, such as all in float32.

    Args:
        media: the content of the file of `run.media`.
    """
    return "\n".join(_lines(media))


def _lines(media: Mapping[str, Any]) -> Iterator[str]:
    seconds, (low, high) = media["seconds"], media["decibels"]
    cut = media["frames"] != media["of_frames"]
    shown = f", the first {media['frames']} of {media['of_frames']} frames" if cut else ""
    yield "<h2>Sound</h2>"
    yield f'<p class="quiet">{_text(media["case"])}: {seconds:.2f} s{_text(shown)}. The modules in float64 compute the '
    yield "reference, and the built artifacts each form. Errors are relative to the root mean square of the reference, "
    yield f"from {low:.0f} dB (dark) to {high:.0f} dB (light). The error of a waveform contains the phase that the "
    yield "rounding of f0 adds up.</p>"
    yield '<div class="sounds">'
    reference = media["reference"]
    yield from _figure("reference (float64)", reference, [("waveform", "waveform"), ("mel", "log-mel")])
    for form in media["forms"]:
        largest = f"{form.get('waveform_error_scale', 0.0):.2g}"
        scale = f"error of the waveform, from -{largest} to {largest}"
        pictures = [("waveform", "waveform"), ("waveform_error", scale), ("mel", "log-mel")]
        pictures.append(("mel_error", "error of the mel"))
        yield from _figure(str(form["form"]), form, pictures, _curve(form, seconds, low, high))
    yield "</div>"


def _figure(
    name: str, values: Mapping[str, Any], pictures: Sequence[tuple[str, str]], curve: str = ""
) -> Iterator[str]:
    yield f"<figure><h3>{_text(name)}</h3>"
    yield f'<audio controls preload="metadata" src="{_url(values["sound"])}" title="{_text(name)}"></audio>'
    for key, said in pictures:
        if key in values:
            kind = ' class="wave-picture"' if key.startswith("waveform") else ""
            yield f'<img{kind} src="{_url(values[key])}" alt="{_text(f"{said} of {name}")}"><p class="quiet">{said}</p>'
    yield f"{curve}</figure>"


def _curve(form: Mapping[str, Any], seconds: float, low: float, high: float) -> str:
    """Return the errors by frame as lines in SVG; empty for a form whose output has another length."""
    series = [(one, form[key]) for one, key in (("mel", "mel_error_db"), ("wave", "waveform_error_db")) if key in form]
    if not series:
        return ""
    grid = [low + (high - low) * step / 4 for step in range(5)]

    def across(share: float) -> float:
        return _LEFT + share * (_WIDTH - _LEFT - 4)

    def up(level: float) -> float:
        return 6 + (high - min(max(level, low), high)) / (high - low) * (_HEIGHT - _BOTTOM - 6)

    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="error by frame">']
    for level in grid:
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - 4}" y1="{up(level):.1f}" y2="{up(level):.1f}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{up(level) + 4:.1f}" text-anchor="end">{level:.0f} dB</text>')
    for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        parts.append(
            f'<text x="{across(share):.0f}" y="{_HEIGHT - 4}" text-anchor="{anchor}">{share * seconds:.2f} s</text>'
        )
    for one, levels in series:
        count = max(len(levels) - 1, 1)
        points = " ".join(f"{across(index / count):.1f},{up(level):.1f}" for index, level in enumerate(levels))
        parts.append(f'<polyline class="{one}" points="{points}"/>')
    names = '<span class="mel-name">mel</span>, <span class="wave-name">waveform</span>'
    return "".join([*parts, "</svg>", f'<p class="quiet">error by frame: {names}</p>'])


def _url(value: Any) -> str:
    return str(value) if _URL.fullmatch(str(value)) else ""


def _text(value: Any) -> str:
    return html.escape(one_line(str(value)))
