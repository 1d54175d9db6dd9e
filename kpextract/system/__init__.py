"""Describe the machine: what it is, what it has, how fast it is."""
