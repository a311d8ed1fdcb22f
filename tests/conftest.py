"""Settings of all tests."""

from __future__ import annotations

import os
import signal

from hypothesis import settings

# torch reads it when it is imported, and processes inherit it. The workers of pytest -n use the cores; threads of
# models this small wait for each other, and take processor time while they do. Set the variable to try more.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A loaded machine is no defect: no test is about how long it takes.
settings.register_profile("cosybuild", deadline=None)
settings.load_profile("cosybuild")

# Started in the background of a script, a process ignores Ctrl-C and so do its children;
# the tests that press it mean a process in a terminal.
signal.signal(signal.SIGINT, signal.default_int_handler)
