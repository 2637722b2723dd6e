"""What several rooms agree on, each thing in one place; it needs only the standard library."""
