"""From a question to the passages that answer it, and how it came to them."""
