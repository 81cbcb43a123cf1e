"""What a run leaves on disk: run directory, lock, manifest, bundle, and the check that nothing was changed."""
