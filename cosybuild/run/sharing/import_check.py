"""The check of an imported run before it is kept, by the same functions with which later commands read it.

The check reads all fields that `explain`, `diff`, `gc`, `replay`, `requirements` and the report need. The import
therefore refuses a record on which one of these commands would fail.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosybuild.errors import ConfigurationError
from cosybuild.manifest import SUFFIX, parse_manifest
from cosybuild.report.difference import difference, difference_lines
from cosybuild.report.markdown import markdown
from cosybuild.report.metrics_check import MISFIT
from cosybuild.report.noise_profile import PLOT, plot, profile_of
from cosybuild.report.report_html import report_html
from cosybuild.run.checked_run import read_checked_run
from cosybuild.run.deliver import ARTIFACTS
from cosybuild.run.lock_file import LOCK, ingredients, read_lock
from cosybuild.run.media import media_in
from cosybuild.run.recorded import PLAN, REPORT_PAGE, REPORT_TEXT
from cosybuild.run.requirements import requirements_text, version_changes
from cosybuild.run.run_names import REPORT
from cosybuild.system.environment import Environment
from cosybuild.system.files import write_text
from cosybuild.system.json_records import read_record
from cosybuild.system.typed_json import from_json


@dataclass(frozen=True)
class _Config:
    """The settings that `replay` reads before it parses the whole configuration."""

    model: Mapping[str, Any]


def check_records(directory: Path, source: Path) -> None:
    """Check the records of an imported run: read them, and make all texts that later commands make from them.

    Args:
        directory: the directory with the imported files. report.md, report.html and the plot are written into it.
        source: the bundle, which the error names.

    Raises:
        ConfigurationError: a record is missing, damaged or not valid.
    """
    with _understood(source):
        run = read_checked_run(str(directory))
        from_json(run.report["config"], _Config, f"{run.directory / REPORT}.config")
        read_record(directory / PLAN, "plan")
        if (directory / LOCK).exists():
            read_lock(directory / LOCK)
        for manifest in sorted((directory / ARTIFACTS).glob(f"*{SUFFIX}")):
            parse_manifest(manifest)
        with suppress(ConfigurationError):  # settings of another version, which `replay` reports
            _ = run.settings
        list(difference_lines(difference(run.report, run.report)))
        version_changes(run.report, Environment())
        ingredients(run.report)
        requirements_text(run)
        write_text(directory / REPORT_TEXT, markdown(run.report))
        write_text(directory / REPORT_PAGE, report_html(run.report, media_in(directory)))
        profile = profile_of(run.report)
        if profile is not None:
            write_text(directory / PLOT, plot(profile))


@contextmanager
def _understood(source: Path) -> Iterator[None]:
    try:
        yield
    except ConfigurationError as error:
        raise _refused(source, error.message) from error
    except MISFIT as error:
        raise _refused(source, f"its record is not valid ({type(error).__name__}: {error})") from error


def _refused(source: Path, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"{source} is refused: {why.rstrip('.')}.",
        hint="Next: ask the sender to write it again with `python -m cosybuild bundle RUN`.",
    )
