"""The command line: code that parses arguments, prints, and determines the exit code."""
