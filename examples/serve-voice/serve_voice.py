"""Serve a voice over HTTP: speech tokens in JSON become 16-bit PCM, whole or while further tokens arrive."""

import argparse
import signal
import threading
from collections.abc import Iterable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from body import Request, lines, parsed

from cosybuild.errors import PoolExhausted, ServingError
from cosybuild.runtime import load_voice
from cosybuild.runtime.voice import Voice


def speech(voice: Voice, path: str, body: Iterator[bytes]) -> Iterator[np.ndarray]:
    """Yield samples for the body of a request: one array for `/speak`, several for `/stream`."""
    given = Request.of(parsed(next(body, b"") if path == "/stream" else b"\n".join(body)))
    nothing = np.zeros((0, voice.facts.mel), np.float32)
    prompt = given.get("prompt_tokens", []), given.floats("prompt_mel", nothing), given.floats("speaker")
    tokens, noise = given.get("tokens", []), given.get("seed", 0)
    if path == "/speak":
        yield voice(tokens, *prompt, noise=noise, streaming=bool(given.get("streaming", False)))
    else:
        arriving = (item for items in ([tokens], map(parsed, body)) for item in items)
        yield from voice.stream(arriving, *prompt, noise=noise, chunk=given.get("chunk", 25))


class Handler(BaseHTTPRequestHandler):
    """One request for each connection."""

    protocol_version = "HTTP/1.1"
    timeout = 30
    """Seconds without a byte from or to the client, after which the connection is closed."""

    def __init__(self, *connection: Any, voice: Voice) -> None:
        self.voice = voice
        super().__init__(*connection)

    def do_POST(self) -> None:
        self.close_connection, self.begun = True, False
        body = lines(self.rfile, self.headers)
        try:
            if self.path not in ("/speak", "/stream"):
                return self.refuse(404, "Next: send the request to /speak or /stream.", body)
            self.send(speech(self.voice, self.path, body))
        except ServingError as error:
            self.refuse(503 if isinstance(error, PoolExhausted) else 400, str(error), body)
        except OSError as error:
            self.log_error("the client has gone: %s", error)
        except Exception:
            self.refuse(500, "The server has a defect; its log has the details.", ())
            raise

    def send(self, pieces: Iterable[np.ndarray]) -> None:
        """Send the samples in chunks. The status is sent with the first of them, so an error before it has its own."""
        for samples in pieces:
            if not self.begun:
                kind = f"audio/pcm;rate={self.voice.facts.sample_rate};channels=1"
                self.head(200, {"Content-Type": kind, "Transfer-Encoding": "chunked"})
            pcm = np.rint(samples * 32767).astype("<i2").tobytes()
            self.wfile.write(b"%x\r\n%b\r\n" % (len(pcm), pcm))
        self.wfile.write(b"0\r\n\r\n")

    def refuse(self, status: int, message: str, body: Iterable[bytes]) -> None:
        if self.begun:
            # The status was sent. Without the last chunk, the client knows that samples are missing.
            return self.log_error("ended a stream: %s", message)
        text = f"{message}\n".encode()
        self.head(status, {"Content-Type": "text/plain; charset=utf-8", "Content-Length": str(len(text))})
        self.wfile.write(text)
        # A connection that is closed with unread bytes is reset, and the client would lose the answer.
        try:
            for _ in body:
                pass
        except (OSError, ServingError, ValueError):
            pass

    def head(self, status: int, fields: dict[str, str]) -> None:
        self.begun = True
        self.send_response(status)
        for name, value in {**fields, "Connection": "close"}.items():
            self.send_header(name, value)
        if status == 503:
            self.send_header("Retry-After", "1")
        self.end_headers()


class Server(ThreadingHTTPServer):
    """Server whose end waits for the answers that have begun."""

    daemon_threads = False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("service", help="directory of deploy.dir")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8417, help="0 for a free one")
    parser.add_argument("--concurrency", type=int, default=2, help="computations at a time")
    parser.add_argument("--timeout", type=float, default=5.0, help="seconds that a request waits for its turn")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of a computation; 0: all")
    given = parser.parse_args()
    voice = load_voice(given.service, concurrency=given.concurrency, timeout=given.timeout, threads=given.threads)
    with Server((given.host, given.port), partial(Handler, voice=voice)) as server:
        for number in (signal.SIGINT, signal.SIGTERM):
            # `shutdown` waits for the loop that this thread runs, so another thread calls it.
            signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
        print(f"listening on http://{given.host}:{server.server_port}", flush=True)
        server.serve_forever(poll_interval=0.1)


if __name__ == "__main__":
    main()
