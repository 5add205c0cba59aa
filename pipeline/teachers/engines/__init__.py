"""How a teacher is shown many images: one machine's threads, or several devices."""
