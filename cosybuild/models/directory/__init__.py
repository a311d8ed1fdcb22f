"""Model directories, for code that reads their files as data, finds their version, or downloads them from a hub."""
