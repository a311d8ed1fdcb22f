"""Sounds and pictures of a compared utterance: the files decode to the samples and to the errors."""

from __future__ import annotations

import base64
import io
import struct
import wave
import zlib
from dataclasses import replace

import numpy as np
import pytest

from cosybuild.verification.voice_media import SECONDS, by_frame, envelope, media_of, picture, wav
from cosybuild.verification.voice_runs import Spoken
from tests.runtime.voice.voices import module_voice

FACTS = module_voice(2).facts


def content(url: str, kind: str) -> bytes:
    assert url.startswith(f"data:{kind};base64,")
    return base64.b64decode(url.partition(",")[2], validate=True)


def pixels(url: str) -> np.ndarray:
    """Decode a PNG file with 8-bit RGB and no filters; check the sums of its chunks."""
    data = content(url, "image/png")
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        assert struct.unpack(">I", data[at + 8 + size : at + 12 + size])[0] == zlib.crc32(kind + body)
        chunks[kind], at = body, at + 12 + size
    width, height, *form = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert form == [8, 2, 0, 0, 0]
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, 1 + 3 * width)
    assert not rows[:, 0].any()
    return rows[:, 1:].reshape(height, width, 3)


def spoken(frames: int, seed: int = 0) -> Spoken:
    rng = np.random.default_rng(seed)
    waveform = np.clip(rng.standard_normal((1, frames * FACTS.hop)) * 0.2, -1, 1)
    return Spoken(rng.standard_normal((1, FACTS.mel, frames)), waveform, np.full((1, frames), 200.0))


def test_a_sound_decodes_to_the_samples() -> None:
    samples = np.sin(np.arange(4800) / 20) * 0.5
    samples[:3] = 1.5, -1.5, np.nan
    with wave.open(io.BytesIO(content(wav(samples, 24000), "audio/wav"))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 24000)
        heard = np.frombuffer(file.readframes(4800), "<i2")
    assert heard[:3].tolist() == [32767, -32768, 0]
    assert np.abs(heard[3:] / 32767 - samples[3:]).max() <= 0.5 / 32767 + 1e-12


def test_a_picture_has_one_column_a_frame_and_the_first_bin_at_the_bottom() -> None:
    values = np.zeros((4, 6))
    values[0] = 1.0
    values[3, 2] = np.nan
    drawn = pixels(picture(values, 0.0, 1.0))
    assert drawn.shape == (8, 6, 3)
    brightness = drawn.sum(axis=2)
    assert (brightness[-1] == brightness.max()).all()
    assert (brightness[:6] == brightness.min()).all()


def test_a_waveform_is_drawn_between_its_lowest_and_highest_samples() -> None:
    drawn = pixels(envelope(np.concatenate((np.zeros(4800), np.tile([1.0, -1.0], 2400))), 1.0))
    lit = drawn.sum(axis=2) > drawn.sum(axis=2).min()
    heights = lit.sum(axis=0)
    assert drawn.shape == (61, 480, 3)
    assert set(heights[:240]) == {1}
    assert set(heights[240:]) == {61}


@pytest.mark.parametrize("error", [1e-6, 1e-3, 0.1])
def test_errors_by_frame_are_relative_to_the_reference(error: float) -> None:
    exact = spoken(12)
    moved = exact.mel.copy()
    moved[:, :, 5] += error * np.sqrt(np.mean(exact.mel**2))
    levels = by_frame((moved - exact.mel)[0], exact.mel[0])
    assert levels[5] == pytest.approx(20 * np.log10(error), abs=0.1)
    assert {level for frame, level in enumerate(levels) if frame != 5} == {-140.0}


def test_an_error_that_is_no_number_is_the_largest() -> None:
    error = np.zeros((4, 3))
    error[1, 1] = np.nan
    assert by_frame(error, np.ones((4, 3))) == [-140.0, 0.0, -140.0]


def test_long_utterances_are_cut_and_forms_of_another_length_have_a_sound_only() -> None:
    frames = int(SECONDS * FACTS.sample_rate / FACTS.hop) + 40
    exact = spoken(frames)
    shorter = replace(exact, waveform=exact.waveform[:, :-8])
    media = media_of(exact, {"same": exact, "shorter": shorter}, FACTS)
    assert (media["seconds"], media["of_frames"]) == (SECONDS, frames)
    same, other = media["forms"]
    assert set(same["mel_error_db"]) == set(same["waveform_error_db"]) == {-140.0}
    assert len(same["mel_error_db"]) == media["frames"]
    assert set(other) == {"form", "sound"}
    with wave.open(io.BytesIO(content(same["sound"], "audio/wav"))) as file:
        assert file.getnframes() == SECONDS * FACTS.sample_rate
