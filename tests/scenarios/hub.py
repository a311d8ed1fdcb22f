"""A model hub on the loopback interface that serves the real clients of Hugging Face and ModelScope."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def serving(models: dict[str, Path]) -> Iterator[tuple[str, list[str]]]:
    """Serve model directories by their hub ids.

    Yields:
        The address, and the paths of files in the order in which their content was fetched.
    """
    fetched: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def _answer(self, *, with_body: bool) -> None:
            path = self.path.partition("?")[0]
            for name, directory in models.items():
                if path in (f"/api/models/{name}", f"/api/models/{name}/revision/main"):
                    siblings = [{"rfilename": file.name} for file in sorted(directory.iterdir())]
                    about = {"id": name, "modelId": name, "sha": COMMIT, "siblings": siblings, "private": False}
                    self._send(200, json.dumps(about).encode(), "application/json", with_body)
                    return
                if path == f"/api/models/{name}/tree/{COMMIT}":
                    tree = [
                        {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": COMMIT}
                        for file in sorted(directory.iterdir())
                    ]
                    self._send(200, json.dumps(tree).encode(), "application/json", with_body)
                    return
                start = f"/{name}/resolve/{COMMIT}/"
                if path.startswith(start) and (directory / path[len(start) :]).is_file():
                    if with_body:
                        fetched.append(path[len(start) :])
                    self._send(200, (directory / path[len(start) :]).read_bytes(), "binary/octet-stream", with_body)
                    return
                if path == f"/api/v1/models/{name}/repo/files":
                    listed = [
                        {
                            "Path": file.name,
                            "Name": file.name,
                            "Type": "blob",
                            "Size": file.stat().st_size,
                            "Sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
                        }
                        for file in sorted(directory.iterdir())
                    ]
                    answer = {"Code": 200, "Success": True, "Data": {"Files": listed}}
                    self._send(200, json.dumps(answer).encode(), "application/json", with_body)
                    return
                if path == f"/api/v1/models/{name}/repo":
                    (asked,) = parse_qs(urlsplit(self.path).query)["FilePath"]
                    if with_body:
                        fetched.append(asked)
                    self._send(200, (directory / asked).read_bytes(), "binary/octet-stream", with_body)
                    return
            self._send(404, b'{"error": "Repository not found"}', "application/json", with_body, "RepoNotFound")

        def _send(self, status: int, body: bytes, kind: str, with_body: bool, error: str | None = None) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            if error is not None:
                self.send_header("X-Error-Code", error)
            self.end_headers()
            if with_body:
                self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", fetched
    finally:
        server.shutdown()
        server.server_close()
