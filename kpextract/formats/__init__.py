"""Write and read features, one file format per module."""
