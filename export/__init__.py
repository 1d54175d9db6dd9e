"""From a trained network to the files that robots run."""
