"""One run: its preparation, plan, execution and delivery; its records and lock files; bundles and failure archives."""
