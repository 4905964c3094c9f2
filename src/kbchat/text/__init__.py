"""Pure work on texts: terms, sentences, outlines, tokens, and the cuts between chunks. No I/O."""
