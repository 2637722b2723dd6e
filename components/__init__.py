"""What runs inside the nodes of the TFX pipeline."""
