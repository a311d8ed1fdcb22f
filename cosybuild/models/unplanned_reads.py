"""The check that a step uses only the code and data that its key names."""

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
    """Check that a user's module, made and called in this block, reads only the sources that planning recorded.

    Do nothing for other models, and for modules of packages that read no file of the user.

    Args:
        subject: the model to make.
        weights: a file that is part of the key by itself.
        scratch: a directory of cosybuild's own, whose files do not count.
        others: further files that are parts of the key by themselves.

    Raises:
        SourceChanged: an ingredient changed since planning.
        BuildError: the module read an ingredient that planning did not record.
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
    """Add the files to the stored trace; the next command traces the module again and includes them."""
    learned = replace(trace, learned=(*trace.learned, *more), void=True)
    with suppress(OSError):
        write_atomic(memo, learned.to_json().encode(), durable=False)
