"""Known mistakes in files from elsewhere. Each is a change of the right network that a wrong file may also have."""
