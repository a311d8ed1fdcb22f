"""Sounds and pictures of a compared utterance for the report's page: waveforms as WAV, mels and errors as PNG.

They are `data:` URLs in a JSON file. So the page needs no other file, and the report needs no arrays.
"""

from __future__ import annotations

import base64
import io
import struct
import wave
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from cosybuild.numerics.inputs import Array
from cosybuild.runtime.voice.facts import Facts
from cosybuild.verification.voice_runs import Spoken

SECONDS = 10.0
"""Longest sound in seconds. The rest of a longer utterance is left out, so that a page has at most a few megabytes."""

DECIBELS = (-140.0, 0.0)
"""The range of errors in pictures, in dB relative to the root mean square of the reference."""

_LEVELS = 20 / np.log(10)
_HEIGHT = 2
"""Pixel rows for one mel bin."""

_SPANS, _TALL = 480, 61
"""Width and height of the picture of a waveform, in pixels."""

_COLOURS = np.array(
    [(12, 8, 38), (66, 12, 98), (140, 30, 104), (206, 62, 78), (244, 122, 38), (250, 192, 58), (252, 252, 190)], float
)
"""The colours of a picture, from low to high values: dark violet, red, orange, light yellow. The brightness rises
evenly, so that colour-blind readers see the order too.
"""


def media_of(exact: Spoken, forms: Mapping[str, Spoken], facts: Facts) -> dict[str, Any]:
    """Return sounds and pictures of the reference and of each form, as JSON data.

    Args:
        exact: the result of the reference.
        forms: form name -> its result. A form whose result has another length gets a sound only.
        facts: the facts of the voice.
    """
    frames = min(exact.mel.shape[2], int(SECONDS * facts.sample_rate / facts.hop))
    mel, waveform = exact.mel[0, :, :frames], exact.waveform[0, : frames * facts.hop]
    lowest, highest = float(mel.min()), float(mel.max())
    shown: dict[str, Any] = {
        "sample_rate": facts.sample_rate,
        "seconds": frames * facts.hop / facts.sample_rate,
        "frames": frames,
        "of_frames": exact.mel.shape[2],
        "decibels": list(DECIBELS),
        "reference": {
            "sound": wav(waveform, facts.sample_rate),
            "waveform": envelope(waveform, 1.0),
            "mel": picture(mel, lowest, highest),
        },
        "forms": [],
    }
    for name, spoken in forms.items():
        row: dict[str, Any] = {"form": name, "sound": wav(spoken.waveform[0, : frames * facts.hop], facts.sample_rate)}
        if spoken.mel.shape == exact.mel.shape and spoken.waveform.shape == exact.waveform.shape:
            own = spoken.mel[0, :, :frames]
            sounds = spoken.waveform[0, : frames * facts.hop] - waveform
            row["waveform"] = envelope(spoken.waveform[0, : frames * facts.hop], 1.0)
            row["waveform_error_scale"] = float(np.max(np.abs(sounds)))
            row["waveform_error"] = envelope(sounds, row["waveform_error_scale"])
            row["mel"] = picture(own, lowest, highest)
            row["mel_error"] = picture(decibels(own - mel, mel), *DECIBELS)
            row["mel_error_db"] = by_frame(own - mel, mel)
            row["waveform_error_db"] = by_frame(sounds.reshape(frames, -1).T, waveform)
        shown["forms"].append(row)
    return shown


def decibels(error: Array, reference: Array) -> Array:
    """Return the magnitude of each error relative to the root mean square of the reference, in dB."""
    scale = float(np.sqrt(np.mean(np.square(reference, dtype=float)))) or 1.0
    ratio = np.abs(np.asarray(error, float)) / scale
    found: Array = _LEVELS * np.log(np.maximum(ratio, 10 ** (DECIBELS[0] / 20)))
    return found


def by_frame(error: Array, reference: Array) -> list[float]:
    """Return the rms error of each column (frame) relative to the root mean square of the reference, in dB."""
    # NaN counts as the largest error.
    columns = np.nan_to_num(np.sqrt(np.mean(np.square(error, dtype=float), axis=0)), nan=np.inf)
    return [round(float(np.clip(value, *DECIBELS)), 1) for value in decibels(columns, reference)]


def wav(samples: Array, rate: int) -> str:
    """Return samples in [-1, 1] as a mono WAV file with 16 bits per sample, as a `data:` URL."""
    whole = np.clip(np.rint(np.nan_to_num(np.asarray(samples, float)) * 32767), -32768, 32767).astype("<i2")
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(whole.tobytes())
    return _url("audio/wav", made.getvalue())


def picture(values: Array, lowest: float, highest: float) -> str:
    """Return an array (bins, frames) as a PNG file, as a `data:` URL.

    The first bin is at the bottom; a frame is one pixel wide.
    """
    share = np.clip((np.nan_to_num(np.asarray(values, float)) - lowest) / ((highest - lowest) or 1.0), 0, 1)
    place = share[::-1] * (len(_COLOURS) - 1)
    below = np.minimum(place.astype(int), len(_COLOURS) - 2)
    rest = (place - below)[..., np.newaxis]
    pixels = np.rint(_COLOURS[below] * (1 - rest) + _COLOURS[below + 1] * rest).astype(np.uint8)
    return _url("image/png", png(np.repeat(pixels, _HEIGHT, axis=0)))


def envelope(samples: Array, scale: float) -> str:
    """Return a waveform as a PNG file, as a `data:` URL. The vertical axis goes from -scale to scale.

    Each pixel column shows the range from the lowest to the highest sample of a short span.
    """
    spans = np.array_split(np.nan_to_num(np.asarray(samples, float)) / (scale or 1.0), min(_SPANS, len(samples)))
    rows = (np.arange(_TALL) - (_TALL - 1) / 2) / ((_TALL - 1) / 2)
    # Widen each span's range by a fraction of a row, so that silence is drawn as a line.
    lowest, highest = (np.array([pick(span) for span in spans]) for pick in (np.min, np.max))
    inside = (rows[:, np.newaxis] >= lowest - 1 / _TALL) & (rows[:, np.newaxis] <= highest + 1 / _TALL)
    pixels = np.where(inside[::-1, :, np.newaxis], _COLOURS[4], _COLOURS[0]).astype(np.uint8)
    return _url("image/png", png(pixels))


def png(pixels: Array) -> bytes:
    """Encode 8-bit RGB pixels, (height, width, 3), as a PNG file; see the PNG specification, sections 5, 7 and 11."""
    height, width, _ = pixels.shape
    # Each row begins with a byte for its filter type; 0 means no filter.
    rows = np.concatenate((np.zeros((height, 1), np.uint8), pixels.reshape(height, width * 3)), axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def _url(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
