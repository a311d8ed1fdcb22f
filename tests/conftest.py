"""Settings of all tests."""

from __future__ import annotations

import signal

from hypothesis import settings

# A loaded machine is no defect: no test is about how long it takes.
settings.register_profile("cosybuild", deadline=None)
settings.load_profile("cosybuild")

# Started in the background of a script, a process ignores Ctrl-C and so do its children;
# the tests that press it mean a process in a terminal.
signal.signal(signal.SIGINT, signal.default_int_handler)
