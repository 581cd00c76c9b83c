"""Settings and connections shared by a login and the REST client."""

from skydive.tls import create_ssl_context
from skypy._http import HttpClient


class Session:
    """Settings of the connections to one server. Every attribute can be changed between requests."""

    def __init__(self, endpoint, scheme, username, password, cookies, insecure, debug, cafile, certfile,
                 keyfile, timeout):
        self.endpoint = endpoint
        self.scheme = scheme
        self.username = username
        self.password = password
        self.cookies = cookies
        self.insecure = insecure
        self.debug = debug
        self.cafile = cafile
        self.certfile = certfile
        self.keyfile = keyfile
        self.timeout = timeout
        self._http = HttpClient()
        self._context = None

    def _url(self, path):
        return f"{self.scheme}://{self.endpoint}{path}"

    def _send(self, path, method, headers, body, jar, timeout=None, repeatable=False):
        """Sends a request with the cookies and the TLS settings of this session."""
        if self.cookies:
            cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
            headers = {**headers, "Cookie": cookies}
        return self._http.request(
            self._url(path), method, headers, body, jar=jar, context=self._tls(),
            timeout=self.timeout if timeout is None else timeout, debug=self.debug,
            repeatable=repeatable)

    def _tls(self):
        """Returns the TLS context, which is created again after a change of a setting."""
        if self.scheme != "https":
            return None
        settings = (self.insecure, self.cafile, self.certfile, self.keyfile)
        if self._context is None or self._context[0] != settings:
            self._context = settings, create_ssl_context(*settings)
        return self._context[1]
