"""Run `tests.fuzz.targets.engine_card` under atheris; see tests/fuzz/README.md."""

from tests.fuzz.atheris.driver import main

if __name__ == "__main__":
    main("engine_card")
