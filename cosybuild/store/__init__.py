"""The store of results, for code about entries, contents, locks, remotes and garbage that depends on no stage."""
