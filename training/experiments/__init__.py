"""Records of research: what was tried once, and the figures that came of it."""
