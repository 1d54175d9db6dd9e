"""Run `tests.fuzz.targets.arguments` under atheris; see tests/fuzz/README.md."""

from tests.fuzz.atheris.driver import main

if __name__ == "__main__":
    main("arguments")
