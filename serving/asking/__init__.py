"""Asking a model what a dog feels: from the command line, over HTTP and on a page."""
