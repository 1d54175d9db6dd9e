"""Exit codes beside 0."""

GATE_MISSED = 1
NOTHING_WORKS = 1  # of `doctor`
FAILED = 2
INTERRUPTED = 130  # as shells report Ctrl-C
