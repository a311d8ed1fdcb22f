"""Modules of users, for code that calls them, and that records the code, data and packages which they read."""
