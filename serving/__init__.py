"""A trained model in use: asked, served, and checked before it is."""
