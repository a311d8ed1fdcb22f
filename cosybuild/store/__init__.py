"""The store of results: entries, contents, locks, remotes and garbage collection. It does not depend on any stage."""
