"""Ratios of this project's speed and accuracy to those of peers, measured in one run."""
