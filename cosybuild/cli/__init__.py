"""The command line, for code that parses arguments, prints, or decides an exit code."""
