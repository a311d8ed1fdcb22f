"""One run: its preparation, plan, execution and delivery, and its records, archives and lock files."""
