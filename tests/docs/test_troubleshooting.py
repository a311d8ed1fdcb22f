"""docs/troubleshooting.md has every class of error that a user can meet, under its exit code."""

from __future__ import annotations

import inspect
import re

import pytest

from cosybuild import errors
from tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
CLASSES = [
    cls
    for _, cls in inspect.getmembers(errors, inspect.isclass)
    if issubclass(cls, errors.CosybuildError) and cls is not errors.CosybuildError
]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_each_error_class_has_a_section_and_a_row_with_its_code(cls: type[errors.CosybuildError]) -> None:
    assert f"\n## {cls.__name__}\n" in PAGE
    (row,) = re.findall(rf"^\| {cls.exit_code} \| (.*) \|$", PAGE, flags=re.MULTILINE)
    assert f"[{cls.__name__}](#{cls.__name__.lower()})" in row
    # A pending run ends with success, so no error is printed for it.
    assert cls is errors.Pending or f"`{cls.kind} error:`" in row


def test_the_page_has_no_other_error_classes() -> None:
    names = {cls.__name__ for cls in CLASSES}
    assert set(re.findall(r"\[(\w+)\]\(#\w+\)", PAGE.partition("\n## ")[0])) == names
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, flags=re.MULTILINE)}
    assert codes == {cls.exit_code for cls in CLASSES} | {errors.DEFECT, errors.INTERRUPTED, errors.UNREAD}


def test_the_report_page_has_the_same_exit_codes() -> None:
    page = (ROOT / "docs" / "report.md").read_text(encoding="utf-8").partition("## Exit codes")[2]
    assert set(re.findall(r"^\| (\d+) \|", page, flags=re.MULTILINE)) - {"0"} == set(
        re.findall(r"^\| (\d+) \|", PAGE, flags=re.MULTILINE)
    )
