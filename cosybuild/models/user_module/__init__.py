"""Modules of users: their declaration, and the code, data and packages that are read while they are made."""
