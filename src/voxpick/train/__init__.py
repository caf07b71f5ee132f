"""From volumes with truth to trained networks."""
