"""ultralytics, kept apart from a person's own, and its models, loaded safely."""
