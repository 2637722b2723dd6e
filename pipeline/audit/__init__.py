"""What there is to know about a set of photos before anything is trained on them: one page."""
