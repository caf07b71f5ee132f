"""The one error a user is meant to see: a line that names the value and the way out."""


class VoxpickError(Exception):
    """Bad input or an impossible request. The commands print its text on one line and exit with code 2."""
