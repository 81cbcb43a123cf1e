"""The meaning of a spec: one pass a file, from checked models to a Plan that leaves nothing to decide."""
