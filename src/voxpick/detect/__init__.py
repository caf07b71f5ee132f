"""From a volume and trained networks to particles."""
