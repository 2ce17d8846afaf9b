"""What leaves the service names no path of its machine: an upload is called by its id, other places by their kind."""

from __future__ import annotations

import json
import math
import re
import sys
from pathlib import Path
from typing import Any

from fastapi.responses import JSONResponse

from autopeft.settings import Settings

UPLOAD = "upload:"
UPLOAD_ID = r"u-[0-9a-f]{16}"


class Curtain:
    """Rewrites texts that may name paths.

    Args:
        settings: data folder, which holds the uploads.
    """

    def __init__(self, settings: Settings) -> None:
        suffix = r"\.(?:csv|tsv|jsonl|parquet)\b"
        self._uploads = re.compile(rf"(?:{re.escape(str(settings.home / 'uploads'))}/)?\.?({UPLOAD_ID}){suffix}")
        places = [(str(settings.home), "AUTOPEFT_HOME"), (sys.prefix, "PYTHON")]
        user = Path.home()
        if user != Path(user.anchor):
            places.append((str(user), "~"))
        # Of a whole path alone: a home of /data is no part of acme/dataset, of ../data or of /data.old.
        self._places = [(re.compile(rf"(?<![\w.~-]){re.escape(place)}(?![\w-]|\.\w)"), name) for place, name in places]
        in_json = (re.escape(json.dumps(place)[1:-1]) for place, _ in places)
        self._telling = re.compile("|".join([UPLOAD_ID + suffix, *in_json]))

    def text(self, text: str) -> str:
        """Return the text with paths replaced."""
        text = self._uploads.sub(rf"{UPLOAD}\1", text)
        for place, name in self._places:
            text = place.sub(name, text)
        return text

    def json(self, document: Any) -> str:
        """Return a JSON document whose texts name no path; ASCII, which halves of surrogate pairs survive."""
        try:
            text = _dump(document)
        except ValueError:  # a number that JSON has not
            return _dump(self._value(document))
        # Most documents name none, and are not gone through text by text.
        return _dump(self._value(document)) if self._telling.search(text) else text

    def response_class(self) -> type[JSONResponse]:
        """Return the class of the service's JSON responses."""
        curtain = self

        class CurtainedResponse(JSONResponse):
            def render(self, content: Any) -> bytes:
                return curtain.json(content).encode()

        return CurtainedResponse

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {key: self._value(item) for key, item in value.items()}
        if isinstance(value, float) and not math.isfinite(value):
            return None
        if isinstance(value, (list, tuple)):
            return [self._value(item) for item in value]
        return value


def _dump(document: Any) -> str:
    return json.dumps(document, allow_nan=False, separators=(",", ":"))
