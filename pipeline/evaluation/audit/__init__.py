"""How right labels are, from answers about a random sample of them."""
