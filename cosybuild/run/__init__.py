"""One run, for code that prepares, plans, executes and delivers it, and for its records, archives and lock files."""
