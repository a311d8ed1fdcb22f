"""One directory a group, one file an option."""
