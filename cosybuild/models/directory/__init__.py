"""Model directories: code that reads their files as data, finds their version, and downloads them from a hub."""
