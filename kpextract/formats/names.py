"""Check the names of the images of an output."""

from kpextract.errors import StoreError


def check_name(name: str) -> None:
    """Raise StoreError unless a name leads to a place below a folder.

    A name is a relative path with forward slashes, without "." and ".." and without
    characters that UTF-8 lacks.
    """
    parts = name.split("/")
    valid = not {"", ".", ".."} & set(parts) and "\0" not in name
    if not (valid and _is_utf8(name)):
        raise StoreError(
            f"{name!r} cannot name an image: names are relative paths in UTF-8 with "
            "forward slashes, without '.' and '..'. Rename the file."
        )


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
