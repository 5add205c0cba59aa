"""Labels before a person's eyes: what to ask, the page that asks, and the server behind it."""
