"""Modules of users: code that calls a module, and records the code, data and packages that the module reads."""
