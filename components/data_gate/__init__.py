"""The data gate's settings and its judgement of what was found in the data."""
