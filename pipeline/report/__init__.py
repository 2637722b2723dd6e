"""Two runs side by side: what changed, and which photos are told differently."""
