"""The process of one product: reads commands from standard input, one JSON object a line, and answers likewise."""

import json
import os
import sys
import traceback
from importlib import import_module

import django


def main() -> None:
    """Do what the lines say until there are no more."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever else is printed is no answer
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
    django.setup()
    commands = import_module("benchmarks.commands")
    for line in sys.stdin:
        arguments = json.loads(line)
        try:
            answer = {"result": getattr(commands, arguments.pop("command"))(**arguments)}
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), file=answers)
    commands.stop()


if __name__ == "__main__":
    main()
