"""An S3 server on the loopback interface."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import Any

CREDENTIALS = {"key": "test", "secret": "test"}


class Server:
    """moto's S3 server in a process of its own."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        code = (
            "import sys; from moto.server import ThreadedMotoServer\n"
            f"server = ThreadedMotoServer('127.0.0.1', {self.port}, verbose=False); server.start()\n"
            "print('up', flush=True); sys.stdin.read()"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "up\n"

    @property
    def options(self) -> dict[str, str]:
        return {**CREDENTIALS, "endpoint_url": f"http://127.0.0.1:{self.port}"}

    def files(self) -> Any:
        import s3fs

        return s3fs.S3FileSystem(**self.options, skip_instance_cache=True)

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate()
