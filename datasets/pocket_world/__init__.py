"""The pocket teacher's world: captioned renders of two dozen things, and a small CLIP for them."""
