"""What a model must reach, how it is measured, and how that is read."""
