import json

import pytest

from benchmarks import tables
from kpextract.errors import UsageError

SHOWN = {
    name
    for document in tables.DOCUMENTS
    for block in tables.BLOCK.findall((tables.ROOT / document).read_text())
    if "|" in block[2]  # the others wait for their result
    for name in block[1].split("|")[0].split()
}


@pytest.mark.parametrize("name", sorted(SHOWN))
def test_every_result_in_a_document_names_the_function_of_its_table(name):
    result = json.loads((tables.RESULTS / name).read_text())
    room, module, function = result["table"].rsplit(".", 2)
    assert (tables.ROOT / room.replace(".", "/") / f"{module}.py").exists()
    assert function.endswith("table")


def test_a_result_without_a_table_says_what_to_do():
    with pytest.raises(UsageError, match="names no table"):
        tables.table({"rows": []})
