"""`kpextract report`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kpextract.bulk.report import ImageFacts, StoreFacts, collect
from kpextract.bulk.report_page import thumbnail, write_page
from kpextract.cli.arguments import add_command
from kpextract.cli.outputs import check_outputs, print_written, say
from kpextract.errors import InvalidImageError, UsageError
from kpextract.features import Features
from kpextract.files import replacing
from kpextract.formats.store import StoreReader
from kpextract.photos import read_photo

SUFFIXES = (".html", ".htm")
