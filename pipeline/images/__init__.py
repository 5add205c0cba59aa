"""Images: found, checked, decoded from films; and what a person labeled."""
