"""Text from files and file names, made safe to show."""

from collections.abc import Sequence

MAX_NAMES = 5  # of a list in a message


def printable(text: str) -> str:
    """Return text with its control characters as backslash escapes.

    File names and metadata may hold anything, such as sequences that a terminal would
    obey or line breaks that would pass for lines of ours.
    """
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode()
        for char in text
    )


def one_line(error: BaseException) -> str:
    """Return the text of an error, which may have several lines, as a printable one."""
    return printable(" ".join(str(error).split()))


def quoted(error: BaseException) -> str:
    """Return the class and text of another library's error as one printable line."""
    return f"{type(error).__name__}: {one_line(error)}"


def some_of(names: Sequence[str]) -> str:
    """Return the first names of a list for a message, and how many more there are."""
    shown = ", ".join(map(printable, names[:MAX_NAMES]))
    more = len(names) - MAX_NAMES
    return f"{shown} and {more} more" if more > 0 else shown
