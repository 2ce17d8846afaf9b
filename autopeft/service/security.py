"""Who may do what: tokens, the page's cookie, and where a request may come from."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from autopeft.store.tokens import Scope, Token, Tokens

COOKIE = "autopeft_session"
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
MOST_FAILURES, FAILURE_SECONDS = 10, 60.0
MOST_CLIENTS = 10_000
LOCAL = "local"


@dataclass(frozen=True)
class Caller:
    """Who sent a request.

    Attributes:
        owner: in whose name it is.
        scopes: what that allows.
        open: whether no token was asked for.
    """

    owner: str
    scopes: tuple[Scope, ...]
    open: bool = False

    @property
    def is_admin(self) -> bool:
        """Whether the caller may change what others have submitted."""
        return "admin" in self.scopes


@dataclass
class Failures:
    """Counts wrong tokens by client, over a minute."""

    _times: dict[str, deque[float]] = field(default_factory=dict)

    def add(self, client: str) -> float:
        """Count one, and return the seconds for which the client has to wait; 0 below the limit."""
        now = time.monotonic()
        if len(self._times) > MOST_CLIENTS:
            self._times.clear()
        times = self._times.setdefault(client, deque(maxlen=MOST_FAILURES))
        while times and times[0] < now - FAILURE_SECONDS:
            times.popleft()
        if len(times) == MOST_FAILURES:
            return times[0] + FAILURE_SECONDS - now
        times.append(now)
        return 0.0


class Door:
    """Admits requests.

    Without any token, on a loopback address, everybody on this machine is admitted as an administrator.

    Args:
        tokens: that are valid.
        loopback: whether the service listens to this machine alone.
    """

    def __init__(self, tokens: Tokens, loopback: bool) -> None:
        self._tokens = tokens
        self._loopback = loopback
        self._failures = Failures()

    @property
    def is_open(self) -> bool:
        """Whether no token is needed."""
        return self._loopback and not self._tokens.any()

    def admit(self, connection: HTTPConnection, scope: Scope) -> Caller:
        """Return who sent a request that needs a scope.

        Raises:
            HTTPException: 401, 403 or 429.
        """
        method = connection.scope.get("method", "GET")
        if self.is_open:
            self._require_own_host(connection)
            if method not in SAFE_METHODS:
                self.require_own_page(connection)
            return Caller(LOCAL, ("admin",), open=True)
        bearer = _bearer(connection)
        secret = bearer or connection.cookies.get(COOKIE)
        if not secret:
            raise _unauthorised("a token is needed: Authorization: Bearer apt_...")
        if not bearer and method not in SAFE_METHODS:
            self._require_own_origin(connection)
        token = self.find(connection, secret)
        if not token.may(scope):
            raise HTTPException(403, f"this token may not {scope}")
        return Caller(token.owner, token.scopes)

    def find(self, connection: HTTPConnection, secret: str) -> Token:
        """Return the token of a secret; too many wrong ones from one client are refused for a while.

        Raises:
            HTTPException: 401 or 429.
        """
        token = self._tokens.find(secret)
        if token is not None:
            return token
        wait = self._failures.add(connection.client.host if connection.client else "")
        if wait > 0:
            raise HTTPException(429, "too many wrong tokens; wait", {"Retry-After": str(int(wait) + 1)})
        raise _unauthorised("this token is not valid")

    def require_own_page(self, connection: HTTPConnection) -> None:
        """Refuse a request that another site's page has made a browser send.

        Raises:
            HTTPException: 403.
        """
        if self.is_open:
            self._require_own_host(connection)
        if connection.headers.get("origin"):
            self._require_own_origin(connection)

    def _require_own_origin(self, connection: HTTPConnection) -> None:
        """Refuse what another site's page has made a browser send."""
        origin = connection.headers.get("origin", "").partition("://")[2]
        if not origin or origin.lower() != connection.headers.get("host", "").lower():
            raise HTTPException(403, "the Origin header does not name this host")

    def _require_own_host(self, connection: HTTPConnection) -> None:
        """Refuse a name that another site's owner has pointed at this machine."""
        if _hostname(connection.headers.get("host", "")) not in LOOPBACK:
            raise HTTPException(403, "without a token the service answers to 127.0.0.1 and localhost alone")


def _hostname(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _bearer(connection: HTTPConnection) -> str:
    kind, _, secret = connection.headers.get("authorization", "").partition(" ")
    return secret.strip() if kind.lower() == "bearer" else ""


def _unauthorised(detail: str) -> HTTPException:
    return HTTPException(401, detail, {"WWW-Authenticate": "Bearer"})
