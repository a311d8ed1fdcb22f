"""The configuration, for code that converts YAML and overrides to typed `Settings`; no DictConfig leaves it."""
