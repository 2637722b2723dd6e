"""What a user may set of the nodes' work: typed, validated, with the defaults.

A module for each part of the work, so that a new default throws away only what depends on it.
`pipeline.config` embeds these sections; they travel to the nodes as JSON.
"""
