"""Photos that come into a folder become runs, one at a time."""
