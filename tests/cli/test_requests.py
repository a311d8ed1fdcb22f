"""A command composes and parses its configuration, resolves its model, expands its profiles and asks for GPUs once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from cosybuild.cli.requests import Requests
from cosybuild.config.settings import Settings
from cosybuild.errors import ConfigurationError
from cosybuild.system.typed_json import to_json
from tests.stages.building import tiny

DATA = Path(__file__).parents[1] / "data"

COUNTING = """
import json, sys
from collections import Counter
import cosybuild.cli.build, cosybuild.config.parse, cosybuild.models.shape_profile, cosybuild.request
import cosybuild.run.prepare, cosybuild.system.environment
from cosybuild.__main__ import main
from hydra._internal.config_loader_impl import ConfigLoaderImpl

counts = Counter()

def counted(module, name):
    inner = getattr(module, name)
    def call(*args, **more):
        counts[name] += 1
        return inner(*args, **more)
    setattr(module, name, call)

counted(ConfigLoaderImpl, "load_configuration")
counted(cosybuild.config.parse, "settings_from_plain")
counted(cosybuild.run.prepare, "resolve_subject")
counted(cosybuild.request, "expand_profiles")
counted(cosybuild.system.environment, "_read_gpus")
code = main(sys.argv[1:])
print(json.dumps({"code": code, **counts}))
"""


@pytest.mark.parametrize("dry", [True, False])
def test_one_run_resolves_its_configuration_and_model_once(dry: bool, tmp_path: Path) -> None:
    """The command has engines, verification, a benchmark and repeated builds, each of which needs all of it."""
    words = [f"model_dir={DATA / 'cosyvoice2_tiny'}", "verify=off", "simplify=none", "store=off"]
    if dry:
        words = [*words[:1], "dry_run=true", "trt.sm=[89]", "benchmark=full", "verify.repeat=1"]
    ran = subprocess.run(
        [sys.executable, "-c", COUNTING, *words, *([] if dry else ["trt=none"])],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    counts = json.loads(ran.stdout.splitlines()[-1])
    assert counts.pop("code") == 0
    assert counts.pop("_read_gpus", 0) <= 1
    assert counts == {"load_configuration": 1, "settings_from_plain": 1, "resolve_subject": 1, "expand_profiles": 1}


def test_another_configuration_gives_another_request() -> None:
    requests = Requests()
    plain = to_json(tiny("cosyvoice2").settings)
    first = requests.of(OmegaConf.create(plain))
    assert isinstance(first.settings, Settings)
    assert requests.of(OmegaConf.create(plain)) is first
    other = requests.of(OmegaConf.create({**plain, "model_dir": str(DATA / "cosyvoice3_tiny")}))
    assert other.subject.family is not first.subject.family
    plain["trt_profile"]["profiles"][0] = {"no_such_axis": {"min": 1, "opt": 2, "max": 3}}
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="no_such_axis"):
            requests.of(OmegaConf.create(plain))
