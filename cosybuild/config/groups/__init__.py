"""One file a configuration group: its frozen dataclass, which is the only statement of its fields.

The schema that Hydra validates against is derived from these classes (`config.schema`), and so are the
configuration reference and the JSON schema. A field's `help` is its documentation.
"""
