"""The store of results: its entries, files, locks, remote and garbage collection. It does not depend on any stage."""
