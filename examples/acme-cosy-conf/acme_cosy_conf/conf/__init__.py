"""One directory for each group, one file for each option."""
