"""Labels: decided, doubted, corrected by a person."""
