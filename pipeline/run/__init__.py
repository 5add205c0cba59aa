"""A run: its folder, and what a stage of it is."""
