"""Asking a model what a dog feels: from the command line, over HTTP and on a page."""

from pathlib import Path

PAGE = Path(__file__).with_name("page")
"""The folder of the page, for the embedded server to show."""
