"""Records of past experiments and their results."""
