"""Whether the photos in service are still like those that the model was trained on."""
