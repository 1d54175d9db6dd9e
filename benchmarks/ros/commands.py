"""Answer commands from standard input, one line of JSON each."""

import json
import sys
from typing import Any


def serve(target: Any) -> None:
    """Call the method `do_NAME` of `target` for each line {"do": NAME, ...}.

    Returns at the end of standard input.
    """
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        given = json.loads(line)
        answer = getattr(target, f"do_{given.pop('do')}")(**given)
        print(json.dumps(answer), flush=True)
