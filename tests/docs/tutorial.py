"""
Follow docs/tutorial/tutorial.md as printed, with the built wheel and nothing of this checkout.

`python -m tests.docs.tutorial dist/*.whl` types its commands into a shell, compares what they print, and writes the
files it has one write. Three things are not as printed: pip takes the wheel of this path, the server listens on a
free port and what it prints is not compared, and a value that ends in an ellipsis is completed from an answer above, as
a reader would copy it.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.docs.quickstart import environment, free_port, wait_for
from tests.docs.readme import README, Block, blocks, pattern, steps

PAGE = README.parent / "docs" / "tutorial" / "tutorial.md"
SERVER, ADDRESS, END = "manage.py runserver", "127.0.0.1:8000", "===ended==="


class Terminal:
    """A shell in which one command is typed after the other, and a server that goes on beside it."""

    def __init__(self, folder: Path, variables: dict[str, str]) -> None:
        self._folder = folder
        self._address = f"127.0.0.1:{free_port()}"
        self._answers = ""
        self._server: subprocess.Popen[str] | None = None
        self._shell = subprocess.Popen(
            ["bash"], cwd=folder, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, command: str, printed: str) -> None:
        """Run a command of the page. Ends the script where it fails or prints something else."""
        if SERVER in command:
            self._serve()
            return
        output = self._type(self._completed(command).replace(ADDRESS, self._address))
        self._answers += output
        if not re.fullmatch(pattern(printed), output.rstrip("\n"), re.DOTALL):
            sys.exit(f"tutorial: {command}\nprinted\n{output}\ninstead of\n{printed}")

    def write(self, path: str, text: str, at_the_end: bool) -> None:
        """Write a file, or add to it."""
        file = self._folder / path
        file.write_text(f"{file.read_text()}\n{text}" if at_the_end else text)

    def close(self) -> None:
        """End shell and server."""
        for process in filter(None, (self._server, self._shell)):
            process.kill()
            process.communicate()

    def _serve(self) -> None:
        command = [".venv/bin/python", *SERVER.split(), "--noreload", self._address]
        self._server = subprocess.Popen(command, cwd=self._folder, env=environment(), text=True)
        wait_for(int(self._address.partition(":")[2]), self._server)

    def _type(self, command: str) -> str:
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(f"{command}\nprintf '\\n%s %s\\n' {END} $?\n")
        self._shell.stdin.flush()
        lines: list[str] = []
        for line in self._shell.stdout:
            lines.append(line)
            if line.startswith(END):
                break
        output = "".join(lines[:-1])[:-1]
        if lines[-1:] != [f"{END} 0\n"]:
            sys.exit(f"tutorial: {command}\nfailed and printed\n{''.join(lines)}")
        return output

    def _completed(self, command: str) -> str:
        def whole(shortened: re.Match[str]) -> str:
            return re.findall(re.escape(shortened[1]) + r"[\w.-]*", self._answers)[-1]

        return re.sub(r"([\w.-]+)…", whole, command)


def main(wheel: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="tutorial-") as name:
        folder = Path(name, "empty")
        folder.mkdir()
        constraints = Path(name, "constraints.txt")
        constraints.write_text(f"djangorestframework-jwtauth @ {wheel.as_uri()}\n")
        terminal = Terminal(folder, environment() | {"PIP_CONSTRAINT": str(constraints)})
        try:
            for block in blocks(PAGE):
                follow(block, terminal)
        finally:
            terminal.close()
    print("tutorial: followed as printed")


def follow(block: Block, terminal: Terminal) -> None:
    if block.language == "console":
        for command, printed in steps(block.text):
            print(f"$ {command}", flush=True)
            terminal.run(command, printed)
        return
    task = re.fullmatch(r"(write|append to) (\S+)", block.comment)
    if task is None:
        sys.exit(f"tutorial: nobody knows what to do with the block in line {block.line}")
    terminal.write(task[2], block.text, at_the_end=task[1] == "append to")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
