"""Network architectures, from single-channel volumes to class logits."""
