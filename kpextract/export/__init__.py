"""From a dense model to the files that robots run; needs no PyTorch."""
