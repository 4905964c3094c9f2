"""What is done with a space as a whole: checked, moved, embedded anew, put in a file, its index of words kept level."""
