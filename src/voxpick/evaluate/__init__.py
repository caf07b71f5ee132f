"""Picks and segmentations against the truth."""
