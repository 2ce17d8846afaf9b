"""Optuna's dashboard behind the service's own door, to look at and not to change.

It claims paths at the root and cannot be moved below another; so it gets what is left when the service's own routes
have been tried, as far as it is the dashboard's. It has no login of its own, and can change and delete studies.
"""

from __future__ import annotations

import re
import threading
from typing import cast

from a2wsgi import WSGIMiddleware
from anyio import to_thread
from optuna.storages import RDBStorage
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from autopeft.service.security import Door
from autopeft.trial import open_storage

# What the dashboard owns of the root.
OWN = re.compile(
    r"/(?:dashboard|static|csv|artifacts|api/(?:meta|studies|trials|compare-studies|artifacts))(?:/.*)?|/favicon\.ico"
    r"|/incompatible-rdb-schema",
    re.DOTALL,
)
METHODS = ("GET", "HEAD")
WORKERS = 4


class Studies:
    """Optuna's studies in the service's database, opened when they are first asked for.

    Args:
        url: SQLAlchemy URL.
        patience: seconds for which a database that is away is waited for.
    """

    def __init__(self, url: str, patience: float) -> None:
        self._url = url
        self._patience = patience
        self._lock = threading.Lock()
        self._opened: RDBStorage | None = None

    @property
    def storage(self) -> RDBStorage:
        """Optuna's storage."""
        with self._lock:
            if self._opened is None:
                self._opened = open_storage(self._url, self._patience)
            return self._opened

    def find(self, name: str) -> int | None:
        """Return the id of a study, or None where the search has not been started yet."""
        try:
            return self.storage.get_study_id_from_name(name)
        except KeyError:
            return None


class Dashboard:
    """The dashboard as an ASGI application.

    Args:
        studies: that it shows.
        door: which admits its requests.
    """

    def __init__(self, studies: Studies, door: Door) -> None:
        self._studies = studies
        self._door = door
        self._lock = threading.Lock()
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request.

        Raises:
            HTTPException: 401, 403, 404, 405 or 429.
        """
        if scope["type"] != "http" or not OWN.fullmatch(scope["path"]):
            raise HTTPException(404, "there is nothing here")
        await to_thread.run_sync(self._door.admit, HTTPConnection(scope), "read")
        if scope["method"] not in METHODS:
            raise HTTPException(405, "the dashboard is here to look at", {"Allow": ", ".join(METHODS)})
        app = await to_thread.run_sync(self._open)
        await app(scope, receive, send)

    def _open(self) -> ASGIApp:
        # It imports scikit-learn, and torch where BoTorch is there; who never looks does not wait for seconds of that.
        from optuna_dashboard import wsgi  # noqa: PLC0415

        with self._lock:
            if self._app is None:
                self._app = cast(ASGIApp, WSGIMiddleware(wsgi(self._studies.storage), workers=WORKERS))
            return self._app
