"""Our own page: static files of the package ``dashboards``, which anybody may read; what they show needs the API."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse, Response
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

import dashboards

FOLDER = Path(dashboards.__path__[0]) / "static"
# A page is asked for again after an upgrade.
HEADERS = {"Cache-Control": "no-cache"}
router = APIRouter(include_in_schema=False)


class Files(StaticFiles):
    """Static files that a browser asks for anew each time, and gets only if they have changed."""

    def file_response(self, *arguments: object, **named: object) -> Response:
        """Return a file."""
        response = super().file_response(*arguments, **named)  # type: ignore[arg-type]
        response.headers.update(HEADERS)
        return response


@router.get("/", response_class=FileResponse)
def index() -> FileResponse:
    """The page."""
    path = FOLDER / "index.html"
    if not path.is_file():
        raise HTTPException(404, "the page is not installed; the API is at /api/v1")
    return FileResponse(path, headers=HEADERS)


def files() -> StaticFiles:
    """Return the application that serves the page's other files."""
    return Files(directory=FOLDER, check_dir=False)
