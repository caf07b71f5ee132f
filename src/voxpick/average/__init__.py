"""Subtomogram averages: what the particles of a tomogram have in common, and training masks made from it."""
