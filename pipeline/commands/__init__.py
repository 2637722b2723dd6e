"""The commands, one file per topic. Heavy imports wait for the command that needs them."""
