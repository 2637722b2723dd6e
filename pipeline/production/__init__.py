"""Which versions of a folder are in production, and how that came about."""
