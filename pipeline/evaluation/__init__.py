"""The evaluation: teacher, student and chance on the same held-out images."""
