"""Name the exit codes other than 0."""

GATE_MISSED = 1
NOTHING_WORKS = 1  # `doctor` found no working backend
SKIPPED = 1  # some photos could not be read
FAILED = 2
INTERRUPTED = 130  # as shells report Ctrl-C
PIPE_CLOSED = 141  # as shells report a program that writes to a closed pipe
