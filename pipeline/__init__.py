"""The pipeline: configuration, graph, runners and command line."""
