"""From a trained network to the files that robots run.

Part of the installed package as `kpextract.export`; tracing needs a checkout as well,
since `training` is not installed.
"""
