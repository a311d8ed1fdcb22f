"""The conversion of YAML and overrides into one frozen, typed `Settings`; no DictConfig leaves this package."""
