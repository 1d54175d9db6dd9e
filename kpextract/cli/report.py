"""`kpextract report`."""

SUFFIXES = (".html", ".htm")
