"""TF Serving's REST API for any SavedModel, in one Python process."""
