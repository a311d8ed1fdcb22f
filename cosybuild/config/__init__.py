"""The conversion of YAML and overrides to typed `Settings`. Other packages do not receive a DictConfig."""
