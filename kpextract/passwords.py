"""Hide passwords in the names of sources, before they reach a message or a log."""

import re

HIDDEN = "***"
URL = re.compile(r"\b[a-z][a-z0-9+.-]+:/", re.IGNORECASE)
# scheme://user:password@. The password may contain any of /?#:@, so it ends at the last
# @ of the word; a port (digits up to the next slash) is not a password.
# A path has only one slash after the scheme.
USER_INFO = re.compile(
    r"(\b[a-z][a-z0-9+.-]+:/{1,2}[^\s/?#:@]*:)(?!\d+(?:[/?#\s]|$))[^\s]*@",
    re.IGNORECASE,
)
# Values in a query (?pwd=...) or of a GStreamer property (user-pw=...).
SECRET = re.compile(
    r"\b((?:[\w-]*(?:pass|pwd|secret|token|auth)\w*|user-pw|api[_-]?key|key)=)"
    r"(\"[^\"]*\"|[^\s&#]+)",
    re.IGNORECASE,
)


def without_password(text: str) -> str:
    """Return a URL or pipeline with its passwords replaced by `HIDDEN`.

    Any other text, such as a path, is returned as it is.
    """
    if not URL.search(text) and " ! " not in text:
        return text
    return SECRET.sub(rf"\1{HIDDEN}", USER_INFO.sub(rf"\1{HIDDEN}@", text))
