"""Files in and out: the only floor, with the commands, that touches paths."""
