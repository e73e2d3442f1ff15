"""A browser in the admin of a real server."""

from __future__ import annotations

import html
import re
from http import HTTPStatus
from http.cookies import SimpleCookie
from typing import Any

from tests.support.servers import Answer, Connection


class Browser:
    """Keeps cookies, and sends a page's hidden fields back with its form."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._cookies: SimpleCookie = SimpleCookie()

    def log_in(self, username: str, password: str) -> None:
        """Log in to the admin."""
        page = "/admin/login/?next=/admin/"
        answer = self.post(page, self.get(page), username=username, password=password)
        assert (answer.status, answer.headers["Location"]) == (HTTPStatus.FOUND, "/admin/")

    def get(self, path: str) -> str:
        answer = self._request("GET", path)
        assert answer.status == HTTPStatus.OK, (path, answer.status, answer.body)
        return answer.body.decode()

    def post(self, path: str, page: str, **fields: str) -> Answer:
        """Fill in and send the form of a page."""
        inputs = [dict(re.findall(r'([\w-]+)="([^"]*)"', tag)) for tag in re.findall(r"<input [^>]*>", page)]
        hidden = {field["name"]: html.unescape(field["value"]) for field in inputs if field["type"] == "hidden"}
        return self._request("POST", path, form=list((hidden | fields).items()))

    def _request(self, method: str, path: str, **content: Any) -> Answer:
        cookies = "; ".join(f"{name}={cookie.value}" for name, cookie in self._cookies.items())
        answer = self._connection.request(method, path, headers={"Cookie": cookies} if cookies else {}, **content)
        for cookie in answer.headers.get_all("Set-Cookie", []):
            self._cookies.load(cookie)
        return answer
