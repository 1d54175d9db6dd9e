"""Entry point of `python -m kpextract`."""

import sys

from kpextract.cli import main

sys.exit(main())
