"""What the command line does: the build and the verbs."""
