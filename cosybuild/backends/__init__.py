"""The runtimes, behind one interface: load an artifact, infer on arrays."""
