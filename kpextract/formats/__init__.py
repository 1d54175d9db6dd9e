"""Write and read features, one file format per module."""

from kpextract.formats.table import load, open_reader, open_store, save

__all__ = ["load", "open_reader", "open_store", "save"]
