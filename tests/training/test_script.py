import pytest

from kpextract.errors import UsageError
from training import script


@pytest.mark.parametrize(("result", "code"), [(None, 0), (0, 0), (1, 1)])
def test_the_exit_code_is_that_of_the_command(result, code):
    assert script.command(lambda arguments: result)() == code


@pytest.mark.parametrize("error", [UsageError("no x."), OSError("no x.")])
def test_an_expected_error_is_one_line_after_the_name_of_the_script(error, capsys):
    @script.command
    def main(arguments):
        raise error

    assert main([]) == 2
    assert capsys.readouterr().err == "test_script: no x.\n"


def test_an_unexpected_error_keeps_its_traceback():
    @script.command
    def main(arguments):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        main([])


def test_the_parser_is_that_of_the_module():
    text = script.parser("benchmarks.x", "Measure x.\n\n    as is").format_help()
    assert text.startswith("usage: python -m benchmarks.x [-h]")
    assert "Measure x.\n\n    as is" in text
