"""kpextract: learned keypoints and descriptors (UnsuperPoint) without PyTorch."""

__version__ = "0.1.0"
