"""The language: YAML with places, composition of files, the models, diagnostics and the JSON Schema."""
