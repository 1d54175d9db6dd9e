"""Real scenes: photos of one place, reconstructed, and the pairs of views in them."""
