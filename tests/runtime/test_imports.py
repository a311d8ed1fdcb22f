"""A serving process loads neither Hydra nor the builder nor an unused runtime."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"torch", "hydra", "omegaconf", "onnx", "onnxruntime", "onnxsim", "scipy", "msgspec", "tensorrt"}
HEAVY |= {"tensorrt_rtx"}
PARTS = {f"cosybuild.{part}" for part in ("config", "models", "stages", "run", "cli", "deploy")}


def loaded_by(statements: str) -> set[str]:
    program = f"import sys\n{statements}\nprint(*sys.modules)"
    return set(
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    )


def test_importing_the_estimator_loads_no_builder() -> None:
    loaded = loaded_by(
        "from cosybuild.runtime import load_estimator; import cosybuild.runtime.graph, cosybuild.runtime.engine"
    )
    assert "torch" in loaded
    assert loaded & (PARTS | HEAVY - {"torch"}) == set()


@pytest.mark.parametrize(
    "statements", ["import cosybuild.runtime.voice", "from cosybuild.runtime import Voice, load_part, load_voice"]
)
def test_importing_a_voice_loads_no_pytorch(statements: str) -> None:
    loaded = loaded_by(statements)
    assert "numpy" in loaded
    assert loaded & (PARTS | HEAVY) == set()


def test_another_name_is_no_part_of_the_runtime() -> None:
    import cosybuild.runtime

    with pytest.raises(AttributeError, match="has no attribute 'load_engine'"):
        cosybuild.runtime.load_engine  # noqa: B018  # the access is the test
    assert all(hasattr(cosybuild.runtime, name) for name in cosybuild.runtime.__all__)
