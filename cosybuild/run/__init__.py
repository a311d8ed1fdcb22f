"""One run from settings to a run directory: what is asked for, the engine at work, the facts it leaves."""
