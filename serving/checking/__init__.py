"""Whether TF Serving could serve a model."""
