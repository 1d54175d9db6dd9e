"""Entry point of `python -m kpextract`."""

from kpextract.cli import run

run()
