"""clip2yolo: unlabeled images in, a small fast classifier out."""

__version__ = "0.1.0"
