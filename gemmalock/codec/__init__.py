"""Text to values and back: manifests, locks, reports, task records and ledgers.

Everything that is written or read as YAML or JSON passes through here; past this room there are only frozen, valid
values. PyYAML and jsonschema are imported here alone, and only where they are needed: jsonschema where a value does not
fit its schema. Nothing here opens a file.
"""
