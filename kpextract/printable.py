"""Text from files and file names, made safe to show."""


def printable(text: str) -> str:
    """Return text with its control characters as backslash escapes.

    File names and metadata may hold anything, such as sequences that a terminal would
    obey or line breaks that would pass for lines of ours.
    """
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode()
        for char in text
    )
