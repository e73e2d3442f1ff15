"""``python -m tests.conformance PAGE`` writes the table of all statements into the page."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import django

from tests.conformance.registry import BEGIN, END, ROOT, tables
from tests.support.pages import write_into

if __name__ == "__main__":
    sys.path.append(str(ROOT / "example_project"))
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    django.setup()
    write_into(Path(sys.argv[1]), BEGIN, END, tables())
