"""The early exit of a command that has nothing to do, before Hydra or any other slow import is loaded.

A run that finds every step built writes a certificate of all files that it has read (see `certificate`). The next
identical command checks this certificate and ends if it is valid. This module is imported at every start, so it imports
only the module `certificate`.
"""

from __future__ import annotations

import os
import sys

from cosybuild.cli.nothing_to_do import certificate
from cosybuild.cli.nothing_to_do.observed_state import Look, is_covered

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing and pathlib would take longer to import than the check
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from cosybuild.request import Request

DIRECTORY = os.path.join("outputs", ".certificates")  # noqa: PTH118  # pathlib is not imported here

# A word that begins like one of these prints something else, reads settings of Hydra, or asks for more than a build.
_DOUBTFUL = ("-", "hydra", "+hydra", "++hydra", "~", "dry_run", "lock", "hold_to", "store.verify", "sweep", "deploy")

_INTERPOLATION = "${"

_RUN_DIRECTORY = "hydra.run.dir="
_CONFIG_DIRECTORY = ("--config-dir", "-cd")

_COMMAND_LINE = "command-line"
"""The provider under which Hydra lists the directory of `--config-dir`."""

_MOST_CONFIGURED = 1000
"""The most files and directories of a `--config-dir` that are watched; a larger directory gets no certificate."""


def nothing_to_do(words: Sequence[str]) -> str | None:
    """Return the line to print if a valid certificate shows that the command has nothing to do, else None.

    None is also returned in a step of GitHub Actions, because only a full run writes the summary of the step.
    """
    if os.environ.get("GITHUB_STEP_SUMMARY"):
        return None
    return None if _config_directories(words) is None else certificate.check(DIRECTORY, words)


def _config_directories(words: Sequence[str]) -> list[str] | None:
    """Return the directories that `--config-dir` names; None if a command with these words gets no certificate.

    A word with an interpolation prevents a certificate, because it could read the clock or any variable.
    """
    found, rest = [], iter(words)
    for word in rest:
        option, equals, value = word.partition("=")
        if _INTERPOLATION in word:
            return None
        if word in _CONFIG_DIRECTORY:
            named = next(rest, _INTERPOLATION)
            if _INTERPOLATION in named:
                return None
            found.append(named)
        elif option == _CONFIG_DIRECTORY[0] and equals:
            found.append(value)
        elif word.startswith(_DOUBTFUL) and not word.startswith(_RUN_DIRECTORY):
            return None
    return found


class Watch:
    """Records the state of all files that a command may read, before it reads them, for a certificate after the run.

    Args:
        words: the command line's overrides.
        conf: the directory of cosybuild's own configuration files.
    """

    def __init__(self, words: Sequence[str], conf: Path) -> None:
        import pathlib

        import cosybuild

        self._words = list(words)
        self._first: Look | None = None
        named = _config_directories(words)
        configured = None if named is None else _configured([pathlib.Path(name) for name in named])
        if named is None or configured is None:  # it gets no certificate
            return
        self._named = bool(named)
        package = pathlib.Path(cosybuild.__file__).parent
        ours = [p for root in (conf, package) for p in sorted(root.rglob("*")) if "__pycache__" not in p.parts]
        ours += configured
        texts = (path for path in ours if path.suffix == ".yaml" and path.is_file())
        self._conf = [path for path in texts if package not in path.parents]
        # Any installation, upgrade or removal of a package changes a directory of the import path.
        places = [path for path in sys.path if os.path.isdir(path)]  # noqa: PTH112  # pathlib would make "" the root
        others = [path for path in sys.path if path not in places]
        directories: list[str | Path] = [
            conf,
            package,
            *map(str, named),
            *places,
            *(path for path in ours if path.is_dir()),
        ]
        files: list[str | Path] = [*others, *(path for path in ours if path.is_file())]
        self._first = Look(files, directories)

    def certify(self, message: str, request: Request, report: Mapping[str, Any], directory: Path) -> None:
        """Write the certificate of a finished run, with which the same command ends early until a watched file changes.

        If the certificate cannot be written, the next command runs in full.

        Args:
            message: the line that the command prints when it has nothing to do.
            request: the request of the run.
            report: the report of the run.
            directory: the run directory.
        """
        if self._first is None or _asks_for_more(request) or _reads_elsewhere(self._conf, self._named):
            return
        from cosybuild.run.directory_lock import CLAIM
        from cosybuild.run.recorded import EVENTS

        store = request.settings.store
        stored = None if store is None else _stored(report, store.path)
        second = None if stored is None else _look_again(request, report)
        if stored is None or second is None:
            return
        results = [*stored, *(path for path in directory.rglob("*") if path.is_file())]
        kept = [path for path in results if path.name not in (EVENTS, CLAIM)]
        certificate.write(DIRECTORY, self._words, message, [self._first, second], results=kept)


def _configured(roots: Iterable[Path]) -> list[Path] | None:
    """Return all files and directories in the directories that `--config-dir` names.

    None if there are too many to watch, or one that cannot be watched: a symbolic link to a directory or to nothing, a
    pipe or a device.
    """
    found: list[Path] = []
    for root in roots:
        for path in root.rglob("*"):
            is_usual = path.is_file() or (path.is_dir() and not path.is_symlink())
            if len(found) == _MOST_CONFIGURED or not is_usual:
                return None
            found.append(path)
    return found


def _asks_for_more(request: Request) -> bool:
    """Return True if the command has work to do each time, or reads files that a certificate cannot cover."""
    from pathlib import Path

    settings = request.settings
    store, name = settings.store, settings.model_dir
    if store is None or store.verify or settings.dry_run or settings.lock or settings.hold_to is not None:
        return True
    # A hub is queried each time. A directory of calibration inputs would have to be watched file by file.
    fetched = name is not None and not Path(name).expanduser().is_dir()
    given = settings.verify is not None and settings.verify.inputs is not None
    return settings.deploy is not None or fetched or given or settings.precision.calibration is not None


def _reads_elsewhere(conf: Iterable[Path], named: bool) -> bool:
    """Return True if the configuration may come from directories or values that a certificate cannot cover.

    Args:
        conf: the files of cosybuild's own configuration, and of the directories that `--config-dir` names.
        named: True if the command has `--config-dir`.
    """
    from hydra.core.hydra_config import HydraConfig

    from cosybuild.config.searchpath import OURS

    hydra = HydraConfig.get()
    # Hydra itself adds the override of the mode.
    other = [word for word in hydra.overrides.hydra if word != "hydra.mode=RUN" and not word.startswith(_RUN_DIRECTORY)]
    watched = OURS | {_COMMAND_LINE} if named else OURS
    if other or any(source.provider not in watched for source in hydra.runtime.config_sources):
        return True
    try:
        texts = [path.read_text(encoding="utf-8") for path in conf]
    except (OSError, ValueError):  # an unreadable file that the composition does not need
        return True
    return not all(_is_constant(call) for text in texts for call in text.split("${")[1:])


def _is_constant(call: str) -> bool:
    """Return True if an interpolation always has the same value.

    This is the case for a reference to another setting, for cosybuild's own resolvers, and for an environment variable
    that certificates cover.

    Args:
        call: the text after the `${` of the interpolation.
    """
    name, colon, arguments = call.partition("}")[0].partition(":")
    if "$" in name or name != name.strip():
        return False
    variable = arguments.partition(",")[0].strip()
    known = name == "oc.env" and variable.isidentifier() and is_covered(variable)
    return not colon or name.startswith("cosybuild.") or known


def _look_again(request: Request, report: Mapping[str, Any]) -> Look | None:
    """Observe the model's files, then plan again; return None if the new plan differs from the steps of the run.

    The run read these files some time ago, perhaps through a link that has changed since. If the plan from the observed
    files has the same keys, which contain the digests of the files, then the run has read the same content.
    """
    from pathlib import Path

    from cosybuild.config.groups.model import Family
    from cosybuild.errors import CosybuildError
    from cosybuild.run.execute import plan_build
    from cosybuild.run.module_code import known_code
    from cosybuild.run.prepare import planning_store, request_from_settings

    def ignore(message: str) -> None:
        """Drop a warning that the run has printed already."""

    sources = [path for one in request.each for path in _read(one)]
    # A new yaml or a new weights file in the same directory could change which files of the model are chosen.
    folders = {path.parent for path in sources}
    if request.subject.family is Family.module:
        code = known_code(request, planning_store(request.settings.store, ignore))
        if code is None:
            return None
        read = [Path(path) for path in (*code.paths, *code.absent)]
        sources += read
        folders |= {*(path.parent for path in read), *(Path(path) for path, _ in code.directories.values())}
    look = Look(sources, folders)
    made = {step["label"]: step["key"]["digest"] for step in report["steps"]}
    try:
        again = request_from_settings(request.settings)
        plan = plan_build(again, warn=ignore)
    except CosybuildError:
        return None
    planned = {step.label: step.key and step.key.digest for step in plan.steps}
    return look if again == request and plan.up_to_date and planned == made else None


def _read(request: Request) -> list[Path]:
    """Return the files of the user that a build of one network reads."""
    from pathlib import Path

    subject, verify = request.subject, request.settings.verify
    files = (subject.weights, *subject.weights_data, subject.graph, *subject.graph_data)
    given = (*files, None if verify is None else verify.lengths, _absolute(subject.origin))
    return [Path(path).expanduser().absolute() for path in given if path is not None]


def _absolute(origin: str) -> str | None:
    return origin if os.path.isabs(origin) else None  # noqa: PTH117  # an empty text is not a path


def _stored(report: Mapping[str, Any], path: str) -> list[Path] | None:
    """Return all files of the store that the run used; None if one is missing, as for a step that is never stored.

    The store may have been moved since the run was recorded, so the files are located by their digests.
    """
    from pathlib import Path

    from cosybuild.store.store import Store

    store = Store(Path(path))
    found = []
    for step in report["steps"]:
        found.append(store.entry_path(step["stage"], step["key"]["digest"]))
        for artifact in step["outputs"].values():
            found.extend(store.objects.locate(file["digest"]) for file in artifact["files"])
    return found if all(each.is_file() for each in found) else None
