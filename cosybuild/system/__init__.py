"""Files, memory, clock and facts of this machine. It imports only errors and figures."""
