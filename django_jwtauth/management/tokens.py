"""Where commands take a token from."""

import getpass
import sys

MAX_LINE_LENGTH = 64 * 1024


def read_token(argument: str) -> str:
    """Return the token that an argument is, or for ``-`` the line on standard input; a terminal
    does not show it."""
    if argument != "-":
        return argument.strip()
    if sys.stdin is None:
        return ""
    try:
        line = (
            getpass.getpass("Token: ")
            if sys.stdin.isatty()
            else sys.stdin.readline(MAX_LINE_LENGTH)
        )
    except UnicodeDecodeError:
        return ""
    return line.strip()
