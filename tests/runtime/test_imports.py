"""A serving process loads neither Hydra nor the builder nor an unused runtime."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
import cosybuild.runtime
import cosybuild.runtime.graph, cosybuild.runtime.engine
print("\\n".join(sorted(sys.modules)))
"""


def test_importing_the_runtime_loads_no_builder() -> None:
    answer = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    loaded = set(answer.stdout.split())
    unwanted = {"hydra", "omegaconf", "onnx", "onnxruntime", "onnxsim", "tensorrt", "tensorrt_rtx"}
    unwanted |= {f"cosybuild.{part}" for part in ("config", "core", "models", "stages", "run", "cli", "deploy")}
    assert "torch" in loaded
    assert loaded & unwanted == set()
