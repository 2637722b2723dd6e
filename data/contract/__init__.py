"""What several rooms agree on, each thing in one place; the standard library is enough here."""
