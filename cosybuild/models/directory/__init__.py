"""Model directories, read as data: their yaml, their version, and their download from a hub."""
