"""Parse the command line, and report a mistake in one line with a suggestion."""

import argparse
import re
from typing import NoReturn

from kpextract.cli.exit_codes import FAILED
from kpextract.errors import did_you_mean
from kpextract.passwords import without_password
from kpextract.printable import printable

CHOICES = re.compile(
    r"invalid choice: '?(?P<given>[^']*)'? \(choose from (?P<all>.*)\)"
)


class CommandParser(argparse.ArgumentParser):
    """Parse like ArgumentParser, without the usage in front of an error."""

    def error(self, message: str) -> NoReturn:
        """Print one line and exit."""
        if found := CHOICES.search(message):
            names = re.findall(r"[\w.-]+", found["all"])
            message += f".{did_you_mean(found['given'], names)}"
        text = printable(without_password(" ".join(message.split())))
        stop = "" if text.endswith((".", "?")) else "."
        self.exit(FAILED, f"{self.prog}: {text}{stop} See {self.prog} --help.\n")

    def refuse_extra(self, arguments: list[str]) -> NoReturn:
        """Exit with an error about arguments that no option or command takes."""
        options = [arg.partition("=")[0] for arg in arguments if arg.startswith("-")]
        hint = did_you_mean(options[0], self._option_string_actions) if options else ""
        self.error(f"unrecognized arguments: {' '.join(arguments)}.{hint}")
