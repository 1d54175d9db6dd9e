"""Run `tests.fuzz.targets.store_file` under atheris; see tests/fuzz/README.md."""

from tests.fuzz.atheris.driver import main

if __name__ == "__main__":
    main("store_file")
