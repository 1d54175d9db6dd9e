"""The bundled models; `kpextract.modelfile` finds them here."""
