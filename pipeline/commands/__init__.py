"""The commands, one file a topic. Heavy imports wait for the command that needs them."""
