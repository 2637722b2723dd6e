"""The backbones, one per module: the module bears its name, and `BACKBONE` is what it can do."""
