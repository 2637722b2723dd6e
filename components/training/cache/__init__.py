"""The activation cache's files: their format, how they are written and how training reads them."""
