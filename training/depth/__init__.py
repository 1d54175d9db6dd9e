"""Synthetic scenes with depth, rendered from photos, with exact correspondences."""
