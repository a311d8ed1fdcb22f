"""Settings of all tests."""

from __future__ import annotations

from hypothesis import settings

# A loaded machine is no defect: no test is about how long it takes.
settings.register_profile("cosybuild", deadline=None)
settings.load_profile("cosybuild")
