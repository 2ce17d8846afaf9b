"""The one file of a multipart form, part by part as it comes: neither memory nor a second file holds all of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.exceptions import HTTPException

from autopeft.errors import InvalidInput, Problem

FIELD = "file"


@dataclass
class FormFile:
    """Reads a form's body up to its file, and then yields the file's content.

    Attributes:
        name: as the sender calls it; known after :meth:`open`.
    """

    content_type: str
    body: AsyncIterator[bytes]
    name: str = ""
    _header: tuple[bytearray, bytearray] = field(default_factory=lambda: (bytearray(), bytearray()))
    _disposition: dict[bytes, bytes] = field(default_factory=dict)
    _inside: bool = False
    _seen: bool = False
    _parts: list[bytes] = field(default_factory=list)

    async def open(self) -> None:
        """Read up to the file.

        Raises:
            InvalidInput: the form has none.
            HTTPException: 400 where it is no form.
        """
        self._parser = self._make_parser()
        while not self._seen:
            if not await self._feed():
                raise InvalidInput(Problem(FIELD, None, f"no file in the form; send one in the field {FIELD!r}"))

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the file's content."""
        more = True
        while more:
            while self._parts:
                yield self._parts.pop(0)
            more = await self._feed()
        if self._inside:
            raise HTTPException(400, "the form ends within its file")

    async def _feed(self) -> bool:
        chunk = await anext(self.body, None)
        if chunk is None:
            return False
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise HTTPException(400, "the form is broken") from error
        return True

    def _make_parser(self) -> MultipartParser:
        _, options = parse_options_header(self.content_type)
        boundary = options.get(b"boundary")
        if not boundary:
            raise HTTPException(400, "the form names no boundary")
        return MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part,
                "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
                "on_header_end": self._on_header,
                "on_headers_finished": self._on_headers,
                "on_part_data": self._on_data,
                "on_part_end": self._on_end,
            },
        )

    def _on_part(self) -> None:
        self._disposition = {}

    def _on_header(self) -> None:
        name, value = (bytes(part) for part in self._header)
        if name.lower() == b"content-disposition":
            _, self._disposition = parse_options_header(value)
        for part in self._header:
            part.clear()

    def _on_headers(self) -> None:
        if self._disposition.get(b"name") == FIELD.encode() and b"filename" in self._disposition and not self._seen:
            self.name = self._disposition[b"filename"].decode("utf-8", "replace")
            self._inside = self._seen = True

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._inside:
            self._parts.append(data[start:end])

    def _on_end(self) -> None:
        self._inside = False
