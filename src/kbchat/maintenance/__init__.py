"""What is done with a space as a whole: checked, moved, embedded anew, put in a file, its index of words kept level."""

BATCH_CHUNKS = 1000
"""Chunks that are copied, embedded or analysed together."""
