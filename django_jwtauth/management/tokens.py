"""Where commands take a token from."""

import getpass
import sys

LONGEST_LINE = 64 * 1024


def read_token(argument: str) -> str:
    """Return the token that an argument is, or for ``-`` the line on standard input; a terminal does not show it."""
    if argument != "-":
        return argument.strip()
    if sys.stdin is None:
        return ""
    try:
        line = getpass.getpass("Token: ") if sys.stdin.isatty() else sys.stdin.readline(LONGEST_LINE)
    except UnicodeDecodeError:
        return ""
    return line.strip()
