"""The one error a user is meant to see: a line that names the value and the way out."""


class VoxpickError(Exception):
    """Bad input or an impossible request. The commands print its text on one line and exit with code 2."""


class TooMuchForeground(VoxpickError):
    """A detection gave up as far too much of the volume lies above its threshold, as a network that has learnt little
    makes it."""
