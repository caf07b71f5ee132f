"""Template matching, and picking by size alone."""
