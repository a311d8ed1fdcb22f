"""The table of exit codes in docs/report.md has the codes of `cosybuild.errors`, and only those."""

from __future__ import annotations

import inspect
import re

from cosybuild import errors
from tests.docs.pages import ROOT


def table() -> dict[int, str]:
    """Return code -> its line in the table."""
    text = (ROOT / "docs" / "report.md").read_text(encoding="utf-8").partition("## Exit codes")[2]
    return {int(code): told for code, told in re.findall(r"^\| (\d+) \| (.*) \|$", text, flags=re.M)}


def codes() -> dict[int, set[str]]:
    """Return code -> the kinds of the classes that are derived from CosybuildError itself."""
    found: dict[int, set[str]] = {}
    for _, cls in inspect.getmembers(errors, inspect.isclass):
        if cls.__base__ is errors.CosybuildError:
            found.setdefault(cls.exit_code, set()).add(cls.kind)
    return found


def test_the_table_has_every_exit_code_with_its_kind() -> None:
    others = {0, errors.DEFECT, errors.INTERRUPTED, errors.UNREAD}
    assert set(table()) == set(codes()) | others
    for code, kinds in codes().items():
        assert len(kinds) == 1
        assert kinds <= {table()[code].partition(":")[0].partition(" refused")[0]}, table()[code]


def test_every_subclass_has_the_code_of_its_base() -> None:
    for _, cls in inspect.getmembers(errors, inspect.isclass):
        if issubclass(cls, errors.CosybuildError) and cls is not errors.CosybuildError:
            assert cls.exit_code in codes()
