"""Parse the command line, and report a mistake in one line with a suggestion."""

import argparse
import difflib
import re
from collections.abc import Iterable
from typing import NoReturn

from kpextract.cli.exit_codes import FAILED
from kpextract.video.address import without_password

CHOICES = re.compile(
    r"invalid choice: '?(?P<given>[^']*)'? \(choose from (?P<all>.*)\)"
)


class CommandParser(argparse.ArgumentParser):
    """Parse like ArgumentParser, without the usage in front of an error."""

    def error(self, message: str) -> NoReturn:
        """Print one line and exit."""
        if found := CHOICES.search(message):
            names = re.findall(r"[\w.-]+", found["all"])
            message += did_you_mean(found["given"], names)
        text = without_password(" ".join(message.split()))
        self.exit(FAILED, f"{self.prog}: {text}. See {self.prog} --help.\n")

    def refuse_extra(self, arguments: list[str]) -> NoReturn:
        """Exit with an error about arguments that no option or command takes."""
        options = [arg.partition("=")[0] for arg in arguments if arg.startswith("-")]
        hint = did_you_mean(options[0], self._option_string_actions) if options else ""
        self.error(f"unrecognized arguments: {' '.join(arguments)}{hint}")


def did_you_mean(given: str, names: Iterable[str]) -> str:
    """Return " - did you mean NAME?" for the most similar name; empty if none is."""
    close = difflib.get_close_matches(given, list(names), n=1)
    return f" - did you mean {close[0]}?" if close else ""
