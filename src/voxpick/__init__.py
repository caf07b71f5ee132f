"""Find and name macromolecules in cryo-electron tomograms."""

__version__ = "0.1.0"
