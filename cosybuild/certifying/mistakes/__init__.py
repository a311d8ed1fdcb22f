"""Known mistakes of files made by others: our networks with one mistake each, which are compared with a wrong file."""
