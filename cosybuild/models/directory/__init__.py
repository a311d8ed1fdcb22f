"""Model directories: reading their files as data, recognising their version, and downloading them from a hub."""
