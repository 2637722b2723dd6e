"""Transfer learning: what is trained on what, in which phases, and what is kept of it."""
