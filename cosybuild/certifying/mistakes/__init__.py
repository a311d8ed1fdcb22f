"""Known mistakes of ports: forms of our own networks with one mistake, to name the one that a wrong file has."""
