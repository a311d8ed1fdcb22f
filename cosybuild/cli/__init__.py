"""The command line: the build command and the verbs."""
