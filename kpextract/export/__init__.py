"""Turn a dense model into the files that robots run, without PyTorch."""
