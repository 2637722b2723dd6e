"""Where a run, a version and a photo came from, as the metadata store (MLMD) knows it."""
