"""From YAML and overrides to one frozen, typed `Settings`. No DictConfig leaves this package."""
