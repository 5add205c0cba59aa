"""Asking people about images: which ones, and what an answer is worth."""
