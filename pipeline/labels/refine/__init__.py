"""Refinement: labels from the whole batch at once instead of one image at a time."""
