"""One module for each configuration group, with the frozen dataclass that alone declares its fields.

The schema that Hydra validates against is derived from these classes (`config.schema`), and so are the
configuration reference and the JSON schema. A field's `help` is its documentation.
"""
