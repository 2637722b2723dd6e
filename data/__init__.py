"""Photos to TFRecords: everything before the pipeline."""
