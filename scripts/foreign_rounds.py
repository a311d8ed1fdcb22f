"""The rounds of `scripts/foreign`: which tests run under which setting."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NOBODY = 65534
ODD = "a föreign place"
"""A directory name with blanks and a letter that is not ASCII."""

_MARKED = ("-m", "arithmetic and not full_size and not gpu")
ARITHMETIC_SHORT = (
    *_MARKED,
    "tests/models",
    "tests/numerics",
    "tests/runtime",
    "--deselect=tests/models/test_exporters.py",
    "--deselect=tests/runtime/voice/test_load.py",
    "--deselect=tests/runtime/voice/test_distribution.py",
)
ARITHMETIC = (*_MARKED, "tests")
"""The tests whose verdict depends on arithmetic carry the marker; the short selection leaves out those that export."""

ENVIRONMENT_SHORT = (
    "tests/cli/test_encoding.py",
    "tests/cli/test_init.py",
    "tests/config/test_quoting.py",
    "tests/building/test_history.py",
    "tests/store/test_layout.py",
    "tests/store/test_checkout.py",
    "tests/system/test_json_records.py",
    "tests/store/test_store.py",
    "tests/store/test_store_damage.py",
    "tests/store/test_workdirs.py",
    "tests/deploy/test_services.py",
    "tests/models/directory/test_reader.py",
    "tests/numerics/test_gates.py",
    "tests/onnxgraph/test_files.py",
    "tests/report",
    "tests/run",
    "tests/sweeps",
    "tests/scenarios/test_bad_input.py::test_a_model_without_read_permission_is_refused",
)
ENVIRONMENT = (
    *(path for path in ENVIRONMENT_SHORT if "::" not in path),
    "tests/cli/test_check.py",
    "tests/cli/test_profiles.py",
    "tests/config/test_naming.py",
    "tests/config/test_sweep_naming.py",
    "tests/building/test_subprocess.py",
    "tests/cli/nothing_to_do/test_certificate.py",
    "tests/store/test_hash_cache.py",
    "tests/system/test_environment.py",
    "tests/store/test_locks_steps.py",
    "tests/store/test_objects.py",
    "tests/store/test_remote_files.py",
    "tests/deploy/test_deploy.py",
    "tests/deploy/test_triton.py",
    "tests/models/test_checkpoint.py",
    "tests/models/test_resolve.py",
    "tests/models/test_service_lengths.py",
    "tests/onnxgraph/test_interface.py",
    "tests/precision/test_slots.py",
    "tests/runtime/test_admission.py",
    "tests/runtime/voice/test_load.py",
    "tests/runtime/voice/test_distribution.py",
    "tests/stages/test_import_onnx.py",
    "tests/scenarios/test_bad_input.py",
    "tests/scenarios/test_search_path_plugin.py",
)
"""The tests of each directory that are fast and use files, processes, text or the user."""


class Skipped(Exception):
    """This machine cannot run a round; the message gives the reason."""


@dataclass(frozen=True)
class Start:
    """The way in which a round starts pytest.

    Attributes:
        checkout: the directory that holds the tests.
        command: the words before those of pytest.
        variables: environment variables to set, or to remove where the value is None.
        umask: the umask; -1 leaves it as it is.
    """

    checkout: Path = ROOT
    command: tuple[str, ...] = (sys.executable,)
    variables: Mapping[str, str | None] = field(default_factory=dict)
    umask: int = -1


@dataclass(frozen=True)
class Round:
    """One run of pytest under a foreign setting.

    Attributes:
        setting: the difference from an ordinary run.
        start: function that returns the `Start` of pytest, given an empty directory.
        words: further arguments of pytest.
        arithmetic: True for the tests whose verdict depends on arithmetic; otherwise the round runs `ENVIRONMENT`.
    """

    setting: str
    start: Callable[[Path], Start]
    words: tuple[str, ...] = ()
    arithmetic: bool = False

    def selection(self, short: bool) -> tuple[str, ...]:
        """Return the arguments of pytest that select the tests."""
        if self.arithmetic:
            return ARITHMETIC_SHORT if short else ARITHMETIC
        return ENVIRONMENT_SHORT if short else ENVIRONMENT


def with_variables(**variables: str | None) -> Callable[[Path], Start]:
    """Start with these environment variables."""
    return lambda directory: Start(variables=variables)


def with_odd_checkout(directory: Path) -> Start:
    """Start in a copy of the checkout whose path has blanks and a letter that is not ASCII."""
    checkout, python = copy_checkout(directory / ODD)
    return Start(checkout, (str(python),))


def with_odd_temporary_directory(directory: Path) -> Start:
    """Start with a TMPDIR whose path has blanks and a letter that is not ASCII."""
    (directory / ODD).mkdir()
    return Start(variables={"TMPDIR": str(directory / ODD)})


def with_nobody(directory: Path) -> Start:
    """Start as the user nobody in a copy of the checkout, with a home and a TMPDIR of its own."""
    if os.geteuid() != 0:
        raise Skipped("only root can become another user; all the other rounds ran as a user who is not root")
    checkout, python = copy_checkout(directory)
    for name in ("home", "tmp"):
        (directory / name).mkdir()
    for path in (directory, *directory.rglob("*")):
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    entry = directory.parent / f"{directory.name}.sh"
    entry.write_text(script_that_opens((Path(sys.base_prefix), *installed(), directory)), encoding="utf-8")
    namespace = ("unshare", "--mount", "--propagation", "private")
    become = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--inh-caps=-all")
    command = (*namespace, "sh", "-e", str(entry), *become, str(python))
    tried = subprocess.run([*command, "-c", ""], capture_output=True, text=True, check=False, cwd=checkout)
    if tried.returncode != 0:
        raise Skipped(f"the user nobody cannot start {python} here: {tried.stderr.strip()}")
    return Start(checkout, command, {"HOME": str(directory / "home"), "TMPDIR": str(directory / "tmp")})


def script_that_opens(paths: tuple[Path, ...]) -> str:
    """Return a shell script for a mount namespace that opens `paths` to every user and runs its arguments.

    An interpreter below /root, or an environment below a directory of mode 700, is out of reach for another user.
    In the namespace an empty file system covers each such directory, and the paths are mounted in it again.
    """
    closed = {path: next((p for p in reversed(path.parents) if not p.stat().st_mode & 0o001), None) for path in paths}
    covered = {path: cover for path, cover in closed.items() if cover is not None}
    lines = ["umask 022"]
    lines += [f"exec {number}< {shlex.quote(str(path))}" for number, path in enumerate(covered, start=3)]
    lines += [f"mount -t tmpfs -o mode=755 tmpfs {shlex.quote(str(cover))}" for cover in sorted(set(covered.values()))]
    for number, path in enumerate(map(str, covered), start=3):
        lines.append(f"mkdir -p {shlex.quote(path)}")
        lines.append(f"mount --no-canonicalize --bind /proc/self/fd/{number} {shlex.quote(path)}")
        lines.append(f"exec {number}<&-")
    return "\n".join([*lines, 'exec "$@"', ""])


def copy_checkout(directory: Path) -> tuple[Path, Path]:
    """Copy the checkout and a new environment into `directory`; return the copy and its interpreter."""
    checkout, environment = directory / "checkout", directory / "environment"
    command = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    for name in map(os.fsdecode, filter(None, listed.split(b"\0"))):
        if (ROOT / name).is_file():
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, checkout / name)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    # The new environment uses the packages of this one, so that nothing must be installed.
    (packages / "checkout.pth").write_text("\n".join(map(str, (checkout, *installed()))), encoding="utf-8")
    return checkout, environment / "bin" / "python"


def installed() -> tuple[Path, ...]:
    """Return the directories from which this interpreter imports installed packages."""
    return tuple(Path(path) for path in sys.path if Path(path).name in ("site-packages", "dist-packages"))


def in_order(seed: int) -> Round:
    """Return a round in the random order of a seed; the seeds of random generators stay as they are."""
    words = ("-p", "randomly", f"--randomly-seed={seed}", "--randomly-dont-reset-seed")
    return Round(f"the tests in the random order of seed {seed}", with_variables(), words)


ROUNDS: Mapping[str, Round] = {
    "aten": Round("PyTorch without vector kernels", with_variables(ATEN_CPU_CAPABILITY="default"), arithmetic=True),
    "sse41": Round("oneDNN limited to SSE4.1", with_variables(ONEDNN_MAX_CPU_ISA="SSE41"), arithmetic=True),
    "avx2": Round("oneDNN limited to AVX2", with_variables(ONEDNN_MAX_CPU_ISA="AVX2"), arithmetic=True),
    "mkl": Round("MKL's results for any processor", with_variables(MKL_CBWR="COMPATIBLE"), arithmetic=True),
    "threads-1": Round("one thread", with_variables(OMP_NUM_THREADS="1"), arithmetic=True),
    "threads-4": Round("four threads", with_variables(OMP_NUM_THREADS="4"), arithmetic=True),
    "perturbed": Round(
        "float32 results wrong by up to 4 units in the last place",
        with_variables(),
        ("--perturb-ulp", "4"),
        arithmetic=True,
    ),
    **{f"order-{seed}": in_order(seed) for seed in (1, 2, 3)},
    "locale": Round(
        "the locale C: text is ASCII, except where Python takes UTF-8 for it",
        with_variables(LC_ALL="C", PYTHONCOERCECLOCALE="0", PYTHONUTF8=None),
    ),
    "timezone": Round("a time zone five and a half hours from UTC", with_variables(TZ="Asia/Kolkata")),
    "umask": Round("new files are for their owner only", lambda directory: Start(umask=0o077)),
    "tmpdir": Round("a TMPDIR with blanks and a letter that is not ASCII", with_odd_temporary_directory),
    "checkout": Round("a checkout with such a path", with_odd_checkout),
    "user": Round("the user nobody instead of root", with_nobody),
}
