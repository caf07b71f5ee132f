"""What seeds a training takes; told apart from its settings, as the command line needs it before it needs them."""

MOST_SEED = 2**63 - 1
"""The largest that torch takes."""
