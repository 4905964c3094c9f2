"""Documents in: read, split, embedded, written, published."""
