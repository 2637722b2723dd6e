"""Where the page is that asks a server about photos, for the server to show."""

from pathlib import Path

PAGE = Path(__file__).with_name("page")
"""A folder with `index.html` and what it needs."""
