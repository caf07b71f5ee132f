"""Trains and scores methods side by side on equal terms, and writes the papers' tables."""
