"""The machine that this runs on: what it is, what it has, how fast it is."""
