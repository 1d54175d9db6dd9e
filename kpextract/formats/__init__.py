"""What features are written to and read from, one format a file."""
