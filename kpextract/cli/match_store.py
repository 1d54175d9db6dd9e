"""`kpextract match` on the output of `kpextract extract`."""
