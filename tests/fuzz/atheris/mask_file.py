"""Run `tests.fuzz.targets.mask_file` under atheris; see tests/fuzz/README.md."""

from tests.fuzz.atheris.driver import main

if __name__ == "__main__":
    main("mask_file")
