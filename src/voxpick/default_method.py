"""Which method is meant where none is named."""

DEFAULT_METHOD = "voxpick"
"""A name in `methods.catalogue.METHODS`; its trained weights ship with the package, under the same name."""
