"""Rows of data sets, from the hub or from a local folder, and the fingerprints of what was read.

The only file that imports `datasets`, and only inside the functions that load: games get rows as values.
"""
