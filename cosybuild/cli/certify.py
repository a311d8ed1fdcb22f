"""`certify model_dir=DIR [FILE ...]`: prove or refute that ONNX files made by others compute the model's networks."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cosybuild import figure
from cosybuild.certifying.match import certifiable_files, has_build_manifest, has_no_counterpart, locate_model
from cosybuild.certifying.one_file import is_recording, run_task
from cosybuild.certifying.sign_off import remove_manifest, sign_off
from cosybuild.certifying.task import Task
from cosybuild.certifying.verdict import Outcome, Verdict
from cosybuild.cli import units
from cosybuild.cli.arguments import Parser
from cosybuild.cli.output_file import output_file
from cosybuild.cli.printed import say
from cosybuild.config.composed import settings_from_words
from cosybuild.config.groups.export import ExportSettings
from cosybuild.config.groups.precision import PrecisionSettings
from cosybuild.config.settings import Settings
from cosybuild.errors import ConfigurationError, ModelError, VerificationError
from cosybuild.printable import one_line
from cosybuild.report.junit import junit_text
from cosybuild.report.junit_cases import verdict_case
from cosybuild.report.sarif import sarif_text
from cosybuild.report.verdicts import lines
from cosybuild.run.limits import ProcessLimits, call_limited
from cosybuild.system.environment import Environment
from cosybuild.system.files import convert_disk_errors, write_atomic

_ENDS = (
    f"exit code: 0 all files are right; {VerificationError.exit_code} a file is refuted; "
    f"{ConfigurationError.exit_code} the command is wrong; {ModelError.exit_code} a file cannot be read or matched"
)
_STATED = "model.streaming"


def main(arguments: Sequence[str]) -> int:
    """Compare each file with the model's networks, print the verdicts, and return the exit code of the worst verdict.

    Raises:
        ConfigurationError: a setting cannot be used, or there is no file to certify.
        ModelError: the model directory cannot be used.
        StoreError: a report or a manifest cannot be written.
    """
    parser = Parser.of_verb("certify", __doc__, _ENDS)
    parser.add_argument(
        "words",
        nargs="+",
        metavar="KEY=VALUE|FILE",
        help="model_dir=DIR and other settings of a build, such as verify=upstream; ONNX files, and recordings of "
        "whole pipelines (.npz; docs/howto/certify.md). Default: every "
        ".onnx below DIR",
    )
    parser.option("--junit", "FILE", "write the verdicts as JUnit XML", str)
    parser.option("--sarif", "FILE", "write the verdicts as SARIF 2.1.0", str)
    parser.switch("--json", "print the verdicts as a JSON list")
    parser.switch(
        "--sign-off", "write a manifest beside each right file, so that `check` and the runtime accept the file"
    )
    parser.option("--max-seconds", "N", "the longest time for one file, in seconds (default: 900)", units.positive)
    parser.option(
        "--max-memory", "SIZE", "the largest memory for one file (default: 32 GiB; no limit with a GPU)", units.size
    )
    options = parser.parse_intermixed_args(list(arguments))
    for flag in ("junit", "sarif"):
        if (name := getattr(options, flag)) is not None:
            setattr(options, flag, output_file(f"--{flag}", name))
    tasks = list(_tasks(options.words))
    verdicts = []
    for task in tasks:
        verdict = _settled(task, _certified(task, _limits(options)), sign=options.sign_off)
        verdicts.append(verdict)
        if not options.json:
            say("\n".join(map(one_line, lines(verdict.facts()))))
    _write(options, verdicts)
    return max((verdict.outcome.exit_code for verdict in verdicts), key=_severity)


def _severity(code: int) -> int:
    """Return the rank of an exit code: 0 for a right file, 1 for an unreadable file, 2 for a refuted file."""
    return (0, ModelError.exit_code, VerificationError.exit_code).index(code)


def _tasks(words: Sequence[str]) -> Iterator[Task]:
    overrides = [word for word in words if "=" in word and not Path(word).exists()]
    names = [Path(word) for word in words if word not in overrides]
    settings = locate_model(_settings(overrides))
    stated = any(word.partition("=")[0] == _STATED for word in overrides)
    streaming = settings.model.streaming if stated else None
    if names:
        for path in names:
            if not path.is_file():
                raise ConfigurationError(
                    f"{path} is not a file.", hint="Next: name ONNX files, and settings as key=value."
                )
            yield Task(path, str(path), settings, streaming)
        return
    assert settings.model_dir is not None
    root = Path(settings.model_dir)
    files = certifiable_files(root)
    if not files:
        raise ConfigurationError(f"{root} has no .onnx file.", hint="Next: name the files.")
    for path in files:
        yield Task(path, path.relative_to(root).as_posix(), settings, streaming)


def _settings(overrides: Sequence[str]) -> Settings:
    settings = settings_from_words(overrides)
    if settings.verify is None:
        raise ConfigurationError(
            "certify compares files with PyTorch, but verify=off is set.",
            hint="Next: verify=strict or verify=upstream.",
        )
    if settings.model.weights is not None:
        # The setting names the weights of one network, but each file determines the network to compare it with.
        raise ConfigurationError(
            f"model.weights={settings.model.weights} is about one network, but each file may be of another network.",
            hint="Next: make a model directory with these weights.",
        )
    # These settings describe a build. They cannot change a finished file, so the comparison does not use them.
    return replace(
        settings, export=ExportSettings(), precision=PrecisionSettings(), simplify=None, trt=None, benchmark=None,
        deploy=None, hold_to=None, lock=False,
    )  # fmt: skip


def _limits(options: argparse.Namespace) -> ProcessLimits:
    memory = options.max_memory or (None if Environment().gpus else ProcessLimits.memory)
    return ProcessLimits(options.max_seconds or ProcessLimits.seconds, memory)


def _certified(task: Task, limits: ProcessLimits) -> Verdict:
    """Compare one file in a separate process, which is stopped at the limits of time and memory."""
    try:
        return call_limited(task.path, limits, run_task, task, emit=_note)
    except ConfigurationError as error:
        if error.__cause__ is None:
            raise
        return Verdict(task.shown, Outcome.unreadable, reason=f"{error.message} {error.hint}")


def _note(kind: str, **facts: object) -> None:
    if kind == "warning":
        say(one_line(f"warning: {facts['message']}"), file=sys.stderr)


def _settled(task: Task, verdict: Verdict, *, sign: bool) -> Verdict:
    """Write the manifest of a right file if `sign`, or remove the manifest of a refuted file; return the verdict."""
    if is_recording(task.path):
        return verdict
    if has_build_manifest(task.path):
        unmatched = verdict.outcome is Outcome.unmatched
        outcome = Outcome.not_compared if unmatched and has_no_counterpart(task.path) else verdict.outcome
        note = f"It has the manifest of a build, which stays: python -m cosybuild check {task.path}"
        return replace(verdict, outcome=outcome, notes=(*verdict.notes, note))
    if verdict.outcome is Outcome.right:
        if not sign:
            return verdict
        with convert_disk_errors("write the manifest of", task.path, of_the_store=False):
            path = sign_off(task, verdict)
        return replace(verdict, notes=(*verdict.notes, f"{path.name} was written."))
    return remove_manifest(task, verdict)


def _write(options: argparse.Namespace, verdicts: Sequence[Verdict]) -> None:
    plain = [verdict.facts() for verdict in verdicts]
    if options.json:
        print(figure.dumps(plain, indent=2))
    for path, form in ((options.junit, _junit), (options.sarif, sarif_text)):
        if path is not None:
            with convert_disk_errors("write", path, of_the_store=False):
                write_atomic(path, form(plain).encode("utf-8", "backslashreplace"), durable=False)


def _junit(verdicts: Sequence[Mapping[str, Any]]) -> str:
    return junit_text("cosybuild certify", [verdict_case(verdict) for verdict in verdicts])
