"""The classifier, from the bytes of a photo to the exported SavedModel."""
