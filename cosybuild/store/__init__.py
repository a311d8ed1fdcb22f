"""The store of results: entries, files, locks, remotes and garbage collection. It does not depend on any stage."""
