"""The language as pydantic models: what a spec may say, with every description, unit, range and default."""
