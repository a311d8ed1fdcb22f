"""The way out for a command that has nothing to do, before Hydra or anything else is loaded.

A run that finished with everything built writes a certificate of all it looked at (`core.certificate`); the next
identical command checks that and ends. Imported at every start, so only the certificate is imported here.
"""

from __future__ import annotations

import os
import sys

from cosybuild.core import certificate

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing and pathlib would take longer to import than the check
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from cosybuild.stages.request import Request

DIRECTORY = os.path.join("outputs", ".certificates")  # noqa: PTH118  # pathlib is not imported here

# Words that read configuration from elsewhere, print something else, or ask for more than a build.
_DOUBTFUL = ("-", "hydra", "+hydra", "~", "dry_run", "lock", "hold_to", "store.verify", "sweep", "deploy")


def nothing_to_do(words: Sequence[str]) -> str | None:
    """What to print if the command of these words has provably nothing to do; None means: find out."""
    return certificate.check(DIRECTORY, words) if _is_plain(words) else None


def _is_plain(words: Sequence[str]) -> bool:
    return not any(word.startswith(_DOUBTFUL) for word in words)


class Watch:
    """Notes what a command may read before it reads it, and certifies a run that had nothing to do."""

    def __init__(self, words: Sequence[str], conf: Path) -> None:
        import pathlib

        import cosybuild

        self._words = list(words)
        package = pathlib.Path(cosybuild.__file__).parent
        ours = [p for root in (conf, package) for p in sorted(root.rglob("*")) if "__pycache__" not in p.parts]
        # Installing, upgrading or removing any package changes a directory of the import path.
        places = [path for path in sys.path if os.path.isdir(path)]  # noqa: PTH112  # as above
        self._directories: list[str | Path] = [conf, package, *places, *(path for path in ours if path.is_dir())]
        self._files = [path for path in ours if path.is_file()]
        self._beginning = certificate.Beginning(self._directories)

    def certify(self, message: str, request: Request, report: Mapping[str, Any], directory: Path) -> None:
        """Write the certificate of a run that finished: there is nothing to do until something moves.

        One that cannot be written is no loss: the next run takes the ordinary way.
        """
        store = request.settings.store
        if store is None or request.settings.deploy is not None or not _is_plain(self._words):
            return
        if _reads_elsewhere():
            return
        subject = request.subject
        if request.settings.precision.calibration is not None:
            return  # it may be a directory of files, each of which would have to be watched
        verify = request.settings.verify
        given = (subject.weights, subject.graph, None if verify is None else verify.lengths)
        sources = [os.path.expanduser(path) for path in given if path is not None]  # noqa: PTH111  # as above
        origins = [subject.origin] if os.path.isabs(subject.origin) else []  # noqa: PTH117  # as above
        # A second yaml, or another kind of weights, beside what was read would change the decision.
        homes = {os.path.dirname(os.path.abspath(path)) for path in [*sources, *origins]}  # noqa: PTH100, PTH120
        from cosybuild.run.claim import CLAIM
        from cosybuild.run.recorded import EVENTS

        stored = _stored(report, store.path)
        if stored is None:
            return
        results = [*stored, *(path for path in directory.rglob("*") if path.is_file())]
        try:
            certificate.write(
                DIRECTORY,
                self._words,
                message,
                [*self._files, *sources, *origins],
                [*self._directories, *homes],
                beginning=self._beginning,
                results=[path for path in results if path.name not in (EVENTS, CLAIM)],
            )
        except OSError:
            return


def _reads_elsewhere() -> bool:
    """Whether the configuration may come from other places than ours, which are not watched."""
    from hydra.core.hydra_config import HydraConfig

    from cosybuild.config.searchpath import OURS

    return any(source.provider not in OURS for source in HydraConfig.get().runtime.config_sources)


def _stored(report: Mapping[str, Any], path: str) -> list[Path] | None:
    """All of the store that the run rests on; None if a part is not there, as of a step that runs every time.

    A run that was left as it is may have been recorded when the store lay elsewhere, so its digests are asked.
    """
    from pathlib import Path

    from cosybuild.core.store import Store

    store = Store(Path(path))
    found = []
    for step in report["steps"]:
        found.append(store.entry_path(step["stage"], step["key"]["digest"]))
        for artifact in step["outputs"].values():
            found.extend(store.objects.locate(file["digest"]) for file in artifact["files"])
    return found if all(each.is_file() for each in found) else None
