"""Deploy over an older deployment and kill the process at a random moment, many times.

    python benchmarks/deploy_kills.py [rounds] [seed]

After each kill, before anything is repaired: every file in service is whole, has a manifest that fits it,
and a runtime would load files of one generation (the plan if there is one, else the graph).
After `check`: the directory is the old deployment or the new one, complete.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cosybuild.deploy.transaction import recover
from cosybuild.manifest import damage, fitting_manifest, write_manifest

STEM = "flow.decoder.estimator"
GRAPH, PLAN = f"{STEM}.fp32.onnx", f"{STEM}.fp16.mygpu.plan"
SIZE = 4 << 20

PROGRAM = """
import sys
from pathlib import Path
from cosybuild.config.groups.deploy import DeploySettings, Service
from cosybuild.system.environment import Environment
from cosybuild.deploy.deploy import deploy
print("ready", flush=True)
sys.stdin.readline()
settings = DeploySettings(service=Service.cosyvoice, dir=sys.argv[2], target_sm=89)
deploy(Path(sys.argv[1]), settings, Environment(gpu_list=()))
print("done", flush=True)
"""


def make_artifacts(directory: Path, generation: int, with_plan: bool) -> Path:
    """Make the artifacts of a run, in which every byte states the generation."""
    directory.mkdir()
    model = {"family": "cosyvoice2", "streaming": False, "weights_digest": str(generation)}
    for name, dtype, size in ((GRAPH, "float32", SIZE), (PLAN, "float16", 2 * SIZE)):
        if name == PLAN and not with_plan:
            continue
        path = directory / name
        path.write_bytes(bytes([generation]) * size)
        ports = [{"name": "x", "dtype": dtype, "shape": [2, 80, -1]}]
        facts = {"verified": True, "slot": name, "model": model, "interface": {"inputs": ports, "outputs": ports}}
        if name == PLAN:
            built_for = {"flavour": "tensorrt", "version": "10.13", "sm": 89, "hardware_compatibility": "none"}
            facts["built_for"] = {**built_for, "version_compatible": False}
        write_manifest(path, facts)
    return directory


def kill_once(artifacts: Path, service: Path, seconds: float) -> bool:
    """Start a deployment and kill it after `seconds`; return True if it had finished."""
    command = [sys.executable, "-c", PROGRAM, str(artifacts), str(service)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.readline()
    process.stdin.write("\n")
    process.stdin.flush()
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read()
    process.wait()
    process.stdin.close()
    process.stdout.close()
    return "done" in rest


def whole(service: Path) -> dict[str, int]:
    """Return name -> generation of every artifact in service.

    Raises:
        AssertionError: an artifact is incomplete, or no manifest beside it fits.
    """
    found = {}
    for name in (GRAPH, PLAN):
        path = service / name
        if path.exists():
            content = path.read_bytes()
            assert len(content) == (SIZE if name == GRAPH else 2 * SIZE), f"{name} was cut off"
            assert content == content[:1] * len(content), f"{name} mixes generations"
            manifest = fitting_manifest(path)
            assert manifest is not None, f"{name} has no manifest"
            assert damage(path, manifest) is None, f"{name} and its manifest do not fit"
            found[name] = content[0]
    return found


def run(rounds: int, seed: int) -> dict[str, int]:
    """Kill `rounds` deployments, and return how many ended in each way.

    Raises:
        AssertionError: a directory is neither the old nor the new deployment.
    """
    chance = random.Random(seed)
    counts = {"old": 0, "new": 0, "recovered": 0, "finished before the kill": 0}
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary)
        service = base / "service"
        service.mkdir()
        current: dict[str, int] = {}
        span = 0.3
        for number in range(rounds):
            generation, with_plan = number % 250 + 1, chance.random() < 0.6
            artifacts = make_artifacts(base / f"run{number}", generation, with_plan)
            coming = dict.fromkeys((GRAPH, PLAN) if with_plan else (GRAPH,), generation)
            moment = chance.uniform(0, span)
            finished = kill_once(artifacts, service, moment)
            # Adapt the times of the kills to the speed of this machine.
            span = max(0.01, 0.9 * span if finished else 1.1 * span)
            now = whole(service)
            loaded = now.get(PLAN, now.get(GRAPH))
            allowed = {c.get(PLAN, c.get(GRAPH)) for c in (current, coming)}
            assert loaded in allowed, f"round {number}: a runtime would load {loaded} of {allowed}"
            counts["recovered"] += recover(service)
            now = whole(service)
            assert now in (current, coming), f"round {number}: {now} is neither {current} nor {coming}"
            counts["new" if now == coming else "old"] += 1
            counts["finished before the kill"] += finished
            assert not finished or now == coming
            current = now
            for path in artifacts.iterdir():
                path.unlink()
            prune(service)
    return counts


def prune(service: Path) -> None:
    """Delete old backups, which is allowed at any time; otherwise they would fill the disk."""
    for directory in sorted((service / ".cosybuild-backup").glob("[0-9]*"))[:-2]:
        shutil.rmtree(directory)


if __name__ == "__main__":
    words = [int(word) for word in sys.argv[1:]]
    print(json.dumps(run(*[*words, *(200, 0)[len(words) :]])))
