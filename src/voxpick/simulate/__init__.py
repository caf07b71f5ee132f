"""From structures to tomograms with known truth."""
