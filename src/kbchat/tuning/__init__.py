"""Measuring retrieval on questions whose answers are known: the sets, the trials, and what is kept of them."""
