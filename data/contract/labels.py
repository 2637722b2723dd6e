"""What is in production: the file that says so, and the labels that versions have there."""

STABLE = "stable"
"""What answers, but for what the canary does."""
CANARY = "canary"
"""What is tried on a part of the requests before it becomes stable."""

MODELS_CONFIG = "models.config"
"""Beside the folder of versions: a text ModelServerConfig, as TF Serving's `--model_config_file`
takes it."""
