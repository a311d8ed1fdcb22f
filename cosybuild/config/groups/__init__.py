"""One module for each configuration group. It has the frozen dataclass that declares the group's settings.

The schema with which Hydra validates is derived from these classes (`config.schema`), and so are the configuration
reference and the JSON schema. Each setting is declared only here. The `help` of a field is its documentation.
"""
