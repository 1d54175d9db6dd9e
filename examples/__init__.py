"""The sample photos, which the wheel installs as kpextract/samples."""
