"""The most doubtful labels first, and a page on which a person decides about them."""
