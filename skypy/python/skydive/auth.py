"""Authentication with a user name and a password."""

import ssl
from http.cookiejar import CookieJar
from urllib import parse as urlencoder
from urllib import request

from skydive._session import Session
from skydive.tls import create_ssl_context

__all__ = ["Authenticate", "CookieJar", "create_ssl_context", "request", "ssl", "urlencoder"]


class Authenticate(Session):
    """Login at a server. The token from the server is in `token`, and as a cookie in `cookie_jar`.

    `timeout` is the limit of a login, in seconds; `None` for no limit.
    """

    def __init__(self, endpoint, scheme="http", username="", password="", cookies={}, insecure=False,
                 debug=0, cafile="", certfile="", keyfile="", *, timeout=None):
        super().__init__(endpoint, scheme, username, password, cookies, insecure, debug, cafile, certfile,
                         keyfile, timeout)
        self.cookie_jar = CookieJar()
        self.authenticated = False
        self.token = ""
        self._open = False

    def login(self):
        """Logs in; returns whether the server sent a token. A server without authentication sends none.

        Raises `urllib.error.HTTPError` if the server rejects the credentials.
        """
        form = urlencoder.urlencode({"username": self.username, "password": self.password})
        response = self._send("/login", "POST", {"Content-Type": "application/x-www-form-urlencoded"},
                              form.encode(), self.cookie_jar)
        if not 200 <= response.status < 300:
            raise response.http_error(self._url("/login"))
        for cookie in self.cookie_jar:
            if cookie.name == "authtoken":
                self.token = cookie.value
                self.authenticated = True
        self._open = not self.authenticated
        return self.authenticated

    def logout(self):
        """Marks the login as invalid. Sends nothing, and does not delete the cookies."""
        self.authenticated = False
        self.token = ""
        self._open = False

    def login_if_needed(self):
        """Logs in, unless the login was successful before, the server requires no login, or there is no user name."""
        if self.username and not self.authenticated and not self._open:
            self.login()
