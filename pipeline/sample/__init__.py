"""The built-in sample: a camera over a packing line, drawn by this project."""
