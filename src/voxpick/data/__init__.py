"""Built-in structures and trained weights."""
