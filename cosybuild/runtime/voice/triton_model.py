"""A voice as a model of Triton's Python backend, with the tensor names of token2wav in CosyVoice's Triton example.

A request without `token_offset` has all tokens, and gets the whole waveform. A stream consists of several requests with
one id, which is the sequence's correlation id or else the request's id. Each request has all tokens so far, and gets
the samples that were not sent yet. `token_offset` is 0 in the first request of a stream and larger in the others;
`finalize` is true in the last.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from cosybuild.errors import PoolExhausted, ServingError
from cosybuild.runtime.voice.arrays import Array
from cosybuild.runtime.voice.load import load_voice
from cosybuild.runtime.voice.pushed_stream import PushedStream

TOKENS, PROMPT_TOKENS, PROMPT_MEL = "target_speech_tokens", "prompt_speech_tokens", "prompt_speech_feat"
SPEAKER, OFFSET, FINALIZE = "prompt_spk_embedding", "token_offset", "finalize"
WAVEFORM = "waveform"
"""The names of the tensors of the Triton model; `WAVEFORM` is the output."""
STREAMS = 256
"""Largest number of open streams in one instance. Each stream has a thread, and caches if there is a cached
estimator.
"""


@dataclass
class _Stream:
    """An open stream.

    Attributes:
        samples: the stream, which takes tokens and returns samples.
        tokens: all tokens so far, (N,).
        used: the clock's time of the last request, in seconds.
    """

    samples: PushedStream
    tokens: Array
    used: float


class VoiceModel:
    """The model of one Triton instance. Triton calls its methods in one thread.

    Args:
        directory: the version directory of the model, which holds the parts of the voice.
        clock: returns a time in seconds. A stream without a request for `idle_seconds` is dropped.
    """

    def __init__(self, directory: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._directory = directory
        self._clock = clock
        self._streams: dict[str, _Stream] = {}

    def initialize(self, args: Mapping[str, str]) -> None:
        """Load the voice. If this raises an error, Triton does not serve the model.

        Args:
            args: Triton's arguments; `model_config` holds the parameters `token_base`, `idle_seconds`, `chunk`,
                `threads` and `forms`.

        Raises:
            ArtifactRefused: a part must not be loaded, or two parts do not belong together.
        """
        given = json.loads(args["model_config"]).get("parameters", {})
        settings = {name: value["string_value"] for name, value in given.items()}
        self._base = int(settings.get("token_base", "0"))
        self._idle = float(settings.get("idle_seconds", "60"))
        self._chunk = int(settings.get("chunk", "25"))
        forms = json.loads(settings.get("forms", "{}"))
        self._voice = load_voice(self._directory, threads=int(settings.get("threads", "0")), forms=forms)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Return one response for each request, in order: the samples, or an error if this request failed."""
        self._drop_idle()
        return [self._response(request) for request in requests]

    def finalize(self) -> None:
        """End all streams before Triton unloads the model."""
        for name in list(self._streams):
            self._end(name)

    def _response(self, request: Any) -> Any:
        try:
            samples = self._samples(request)
        except PoolExhausted as error:
            return _failure(error, pb_utils.TritonError.UNAVAILABLE)
        except ServingError as error:
            return _failure(error, pb_utils.TritonError.INVALID_ARG)
        except Exception as error:
            # If `execute` raised the error, all requests of this call would fail.
            logging.getLogger(__name__).exception("a request failed")
            return _failure(error, pb_utils.TritonError.INTERNAL)
        return pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor(WAVEFORM, samples[np.newaxis])])

    def _samples(self, request: Any) -> Array:
        tokens = self._tokens(request, TOKENS)
        offset, finalize = _value(request, OFFSET), _value(request, FINALIZE)
        if offset is None:
            return self._voice(tokens, *self._prompt(request))
        name = str(request.correlation_id() or request.request_id())
        if not name or name == "0":
            raise ServingError("a request of a stream needs a request id or a correlation id; it has neither.")
        if int(offset) == 0:
            self._begin(name, request)
        stream = self._streams.get(name)
        if stream is None:
            raise ServingError(
                f"the stream {name} is not known: {OFFSET} is {int(offset)}, and its first request must have 0; or it "
                f"had no request for {self._idle:g} s, or another instance has it.",
                hint="Next: send all requests of a stream to one instance, the first one with token_offset 0.",
            )
        stream.used = self._clock()
        return self._continue(name, stream, tokens, last=bool(finalize))

    def _begin(self, name: str, request: Any) -> None:
        self._end(name)
        if len(self._streams) >= STREAMS:
            raise PoolExhausted(
                f"{len(self._streams)} streams have begun and not ended, the most of one instance.",
                hint=f"Next: end streams with {FINALIZE}; those without a request are dropped after {self._idle:g} s.",
            )
        prompt = self._prompt(request)

        def start(tokens: Iterator[Array]) -> Iterator[Array]:
            return self._voice.stream(tokens, *prompt, chunk=self._chunk)

        self._streams[name] = _Stream(PushedStream(start), np.zeros(0, np.int64), self._clock())

    def _continue(self, name: str, stream: _Stream, tokens: Array, *, last: bool) -> Array:
        done = stream.tokens.size
        try:
            if not np.array_equal(tokens[:done], stream.tokens):
                raise ServingError(
                    f"the stream {name} was continued with other tokens: each request has all tokens so far, and the "
                    f"first {done} must be those of the request before."
                )
            samples = stream.samples.push(tokens[done:], last=last)
        except BaseException:
            self._end(name)
            raise
        stream.tokens = tokens
        if last:
            self._end(name)
        return samples

    def _tokens(self, request: Any, name: str) -> Array:
        ids: Array = _tensor(request, name).reshape(-1).astype(np.int64) - self._base
        return ids

    def _prompt(self, request: Any) -> tuple[Array, Array, Array]:
        mel, speaker = _tensor(request, PROMPT_MEL), _tensor(request, SPEAKER)
        bins = self._voice.facts.mel
        # Triton's batch axis has the size 1 and is dropped.
        return self._tokens(request, PROMPT_TOKENS), mel.reshape(-1, bins).astype(np.float32), _vector(speaker)

    def _drop_idle(self) -> None:
        now = self._clock()
        for name in [name for name, stream in self._streams.items() if now - stream.used > self._idle]:
            self._end(name)

    def _end(self, name: str) -> None:
        stream = self._streams.pop(name, None)
        if stream is not None:
            stream.samples.close()


def _tensor(request: Any, name: str) -> Array:
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    if tensor is None:
        raise ServingError(f"the request has no {name}, which every request needs.")
    # Triton reuses the memory of a request after the response, so copy it.
    return np.array(tensor.as_numpy())


def _value(request: Any, name: str) -> Any:
    """Return the value of an input of one element; None if the request does not have it."""
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return None if tensor is None else tensor.as_numpy().reshape(-1)[0]


def _vector(values: Array) -> Array:
    return values.reshape(-1).astype(np.float32)


def _failure(error: Exception, code: int) -> Any:
    # `str(error)` includes the hint.
    return pb_utils.InferenceResponse(output_tensors=[], error=pb_utils.TritonError(str(error), code))
