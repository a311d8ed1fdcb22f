"""Check that a step that runs a user's module reads only the files that the step's key contains."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from cosybuild.digest import digest_of
from cosybuild.errors import BuildError, SourceChanged
from cosybuild.models.subject import Subject
from cosybuild.models.user_module.audit import record_reads
from cosybuild.models.user_module.fresh import forget_changed, import_from_source
from cosybuild.models.user_module.trace import Trace, is_local, loaded_files, untraced_reads
from cosybuild.system.files import write_atomic


@contextmanager
def check_reads(subject: Subject, weights: Path | None, scratch: Path, others: Sequence[Path] = ()) -> Iterator[None]:
    """Check that a user's module, constructed and called in the `with` block, reads only files that its trace contains.

    The check does nothing for other models, and for modules of installed packages that read no file of the user.

    Args:
        subject: the model; `subject.code` is the trace that planning recorded.
        weights: the weights file, whose content is another part of the key; None for random weights.
        scratch: a directory that cosybuild writes to; files in it are ignored.
        others: further files whose content is another part of the key.

    Raises:
        SourceChanged: a file or package of the trace changed since planning.
        BuildError: the module read a file that the trace does not contain.
    """
    trace = subject.code
    if trace is None or not (trace.is_local or trace.memo):
        yield
        return
    forget_changed(trace.sources)
    before = loaded_files()
    with record_reads() as reads, import_from_source(is_local):
        yield
    name = subject.hyperparameters["target"]["_target_"]
    if (changed := trace.change(digest_of)) is not None:
        raise SourceChanged(
            f"{changed}, which {name} uses, changed during the build; the result is not kept.",
            hint="Next: run the same command again.",
        )
    ours = f"{scratch.absolute()}/"
    own = {str(path.absolute()) for path in (weights, *others) if path is not None}
    more = tuple(path for path in untraced_reads(reads, trace, before) if not path.startswith(ours) and path not in own)
    if more and trace.memo is not None:
        _learn(trace, more, Path(trace.memo))
        raise BuildError(
            f"{name} read {', '.join(more)} only during the export or a run, and not during planning; the result "
            "is not kept, because its key lacks the file.",
            hint="Next: run the same command again; the file is now part of the key.",
        )


def _learn(trace: Trace, more: tuple[str, ...], memo: Path) -> None:
    """Add the files `more` to the stored trace, and mark it as incomplete: the next command then makes a new one."""
    learned = replace(trace, learned=(*trace.learned, *more), void=True)
    with suppress(OSError):
        write_atomic(memo, learned.to_json().encode(), durable=False)
