"""The backbones, one a module: its name is the backbone's, and its `BACKBONE` what it can do."""
