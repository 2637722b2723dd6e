"""What a server counts of the photos in service, by Prometheus' names: for whoever reads them."""

ANSWERS = "dog_emotion_answers"
"""A counter of photos by model, version, likeliest class and what was said; `_total` is added."""
SAID_LABEL, SAID_NOT_SURE, SAID_NO_DOG = "label", "not_sure", "no_dog"
"""What was said: the class, or that there is none."""

PHOTO_BRIGHTNESS = "dog_emotion_photo_brightness"
PHOTO_WIDTH = "dog_emotion_photo_width"
PHOTO_HEIGHT = "dog_emotion_photo_height"
"""Histograms by model, of the features of a record that have these names: mean luma from 0 to 255,
and pixels once the longest side is bounded."""

UNMEASURED = "dog_emotion_photos_unmeasured"
"""A counter of photos that are in no histogram, by model; `_total` is added."""

STEP = 8
"""The width of the histograms' buckets."""
