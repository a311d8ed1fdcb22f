"""The example server answers with the samples of the loaded voice, and refuses as its README says."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPResponse, IncompleteRead
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cosybuild.runtime import load_voice
from cosybuild.runtime.voice import Voice
from tests.runtime.voice.voices import prompt, tokens

Services = Callable[[int], Path]
SCRIPT = Path(__file__).parents[3] / "examples/serve-voice/serve_voice.py"
COUNT, ENOUGH = 26, 23
"""Tokens of an utterance, and those after which the first samples are known."""
SPEAKER = {"prompt_tokens": 0, "prompt_mel": 1, "speaker": 2}


@contextmanager
def serving(service: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Start the server on a free port; yield the process and the port, and end it if the test has not."""
    command = [sys.executable, str(SCRIPT), str(service), "--port", "0", "--threads", "1", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        found = re.fullmatch(r"listening on http://127\.0\.0\.1:(\d+)\n", process.stdout.readline())
        assert found is not None, process.communicate()[1]
        yield process, int(found[1])
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory, services: Services) -> Iterator[int]:
    with serving(services(2)) as (_, number):
        yield number


@pytest.fixture(scope="module")
def voice(services: Services) -> Voice:
    return load_voice(services(2), threads=1)


def request(**change: Any) -> dict[str, Any]:
    return {**{name: prompt(2)[at][0].tolist() for name, at in SPEAKER.items()}, "seed": 3, **change}


def post(port: int, path: str, body: bytes | Iterator[bytes]) -> HTTPResponse:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("POST", path, body)
    return connection.getresponse()


def refused(port: int, path: str, body: bytes | Iterator[bytes]) -> tuple[int, str]:
    response = post(port, path, body)
    return response.status, response.read().decode(errors="replace")


def pcm(samples: np.ndarray) -> bytes:
    return np.rint(samples * 32767).astype("<i2").tobytes()


@pytest.mark.parametrize("streaming", [False, True])
def test_a_whole_utterance_has_the_samples_of_the_voice(streaming: bool, port: int, voice: Voice) -> None:
    row = tokens(2, COUNT)
    body = json.dumps(request(tokens=row.tolist(), streaming=streaming), indent=1)
    response = post(port, "/speak", body.encode())
    assert (response.status, response.headers["Content-Type"]) == (200, "audio/pcm;rate=24000;channels=1")
    assert response.read() == pcm(voice(row, *prompt(2), noise=3, streaming=streaming))


def test_a_stream_of_lines_has_the_samples_of_the_voice(port: int, voice: Voice) -> None:
    """One token in a line, two, none, and a part of a line in each chunk."""
    row = tokens(2, COUNT).tolist()
    text = "\n".join([json.dumps(request(chunk=1, tokens=row[:2])), *map(str, row[2:5]), "", json.dumps(row[5:])])
    response = post(port, "/stream", (text[at : at + 11].encode() for at in range(0, len(text), 11)))
    assert response.status == 200
    assert response.read() == pcm(np.concatenate(list(voice.stream(row, *prompt(2), noise=3, chunk=1))))


def test_samples_are_sent_before_the_last_token_arrives(port: int, voice: Voice) -> None:
    row = tokens(2, COUNT).tolist()
    pieces = list(voice.stream(row, *prompt(2), noise=3, chunk=1))
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    connection.putrequest("POST", "/stream")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    # The connection forgets its socket when it reads that the server will close it.
    sender = connection.sock

    def send(text: str) -> None:
        sender.sendall(f"{len(text):x}\r\n{text}\r\n".encode())

    send(json.dumps(request(chunk=1)) + "\n")
    for token in row[:ENOUGH]:
        send(f"{token}\n")
    response = connection.getresponse()
    assert response.read(2 * pieces[0].size) == pcm(pieces[0])
    send("".join(f"{token}\n" for token in row[ENOUGH:]))
    sender.sendall(b"0\r\n\r\n")
    assert response.read() == pcm(np.concatenate(pieces[1:]))


REFUSED: dict[str, tuple[str, bytes, str]] = {
    "id": ("/speak", json.dumps(request(tokens=[1, 40])).encode(), "is 40; whole numbers from 0 to 39 are expected"),
    "id of a stream": ("/stream", json.dumps(request(tokens=[1, 40])).encode(), "whole numbers from 0 to 39"),
    "no tokens": ("/speak", json.dumps(request()).encode(), "there are no tokens; at least one is expected."),
    "text": ("/speak", b"hello", "b'hello' is not JSON"),
    "nothing": ("/stream", b"", "b'' is not JSON"),
    "list": ("/speak", b"[1, 2]", "the request is a list; an object with tokens is expected."),
    "speaker": ("/speak", b'{"tokens": [1]}', "the request has no speaker."),
    "words": ("/speak", b'{"tokens": [1], "speaker": ["a"]}', "speaker is not an array of numbers"),
    "depth": ("/speak", b"[" * 100_000, "is not JSON"),
    "ragged": ("/speak", json.dumps(request(tokens=[[1], [1, 2]])).encode(), "tokens has rows of several lengths"),
    "number": ("/speak", json.dumps(request(tokens=5)).encode(), "tokens is 5; whole numbers in one row are expected."),
    "infinity": ("/speak", json.dumps(request(tokens=[1], speaker=[1e999] * 192)).encode(), "finite numbers"),
    "seed": ("/speak", json.dumps(request(tokens=[1], seed=-1)).encode(), "noise=-1 is not a seed"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_request_that_is_refused_has_status_400_and_the_sentence(name: str, port: int) -> None:
    path, body, sentence = REFUSED[name]
    status, text = refused(port, path, body)
    assert (status, sentence in text) == (400, True), text


def test_a_line_that_is_refused_before_the_first_samples_has_status_400(port: int) -> None:
    lines = [json.dumps(request(chunk=1)).encode(), b"\n1\n2\n", b"no number\n", b"3\n" * 1000]
    status, text = refused(port, "/stream", iter(lines))
    assert (status, "b'no number' is not JSON" in text) == (400, True), text


def test_a_stream_that_fails_after_its_status_lacks_the_last_chunk(port: int) -> None:
    lines = [json.dumps(request(chunk=1)).encode(), b"\n[1]" * ENOUGH, b"\n41\n"]
    response = post(port, "/stream", iter(lines))
    assert response.status == 200
    with pytest.raises(IncompleteRead):
        response.read()


@pytest.mark.parametrize("length", ["-1", "99999999999", "many"])
def test_a_length_that_is_invalid_has_status_400(length: str, port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(f"POST /speak HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n".encode())
        assert client.makefile("rb").readline() == b"HTTP/1.1 400 Bad Request\r\n"


def test_an_unknown_path_has_status_404(port: int) -> None:
    assert refused(port, "/", b"{}")[0] == 404


def test_a_client_that_leaves_does_not_disturb_others(port: int, voice: Voice) -> None:
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"POST /stream HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{")
    row = tokens(2, 4)
    answer = post(port, "/speak", json.dumps(request(tokens=row.tolist())).encode())
    assert answer.read() == pcm(voice(row, *prompt(2), noise=3))


def test_a_busy_server_answers_503_and_ends_after_the_answers_that_have_begun(services: Services) -> None:
    with serving(services(2), "--concurrency", "1", "--timeout", "0") as (process, port):
        long, found, refusal = json.dumps(request(tokens=[1] * 400)).encode(), [], threading.Event()

        def ask() -> None:
            # A connection that the server has not accepted at its end is reset.
            with suppress(OSError):
                found.append(refused(port, "/speak", long))
                if found[-1][0] == 503:
                    refusal.set()

        clients = [threading.Thread(target=ask) for _ in range(4)]
        for client in clients:
            client.start()
        assert refusal.wait(60), found
        process.send_signal(signal.SIGTERM)
        for client in clients:
            client.join(60)
        assert process.wait(60) == 0
    by_status = dict(found)
    assert sorted(by_status) == [200, 503]
    assert "all 1 execution contexts of the voice in service were busy" in by_status[503]
