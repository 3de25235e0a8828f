"""One API with an OpenAPI document: read once, and a tool for each of its operations."""

from __future__ import annotations

import asyncio
import logging
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from corral.errors import ConfigError, OutboundFailed, OutboundRefused
from corral.messages import ToolCall
from corral.outbound.client import Outbound
from corral.settings.policy_sections import OpenApiSettings
from corral.tools.answers import output_of_answer, unreachable
from corral.tools.marks import Marks
from corral.tools.openapi.document import DOCUMENT_BYTES_MAX, Document
from corral.tools.openapi.operation import Operation, operations_of
from corral.tools.results import ToolOutput
from corral.tools.tool import Tool

_log = logging.getLogger("corral.tools.openapi")

_READ = frozenset({"GET"})
_REPEATABLE = frozenset({"GET", "PUT", "DELETE"})
_OK = 200


class OpenApi:
    """The tools of one API. Each step of its life may come twice."""

    def __init__(self, name: str, settings: OpenApiSettings, *, outbound: Outbound | None = None) -> None:
        """Nothing is read yet."""
        self.name = name
        self.settings = settings
        self.tools: dict[str, Tool] = {}
        self.base_url = ""
        self._outbound = outbound or Outbound(
            settings.allow,
            timeout_s=settings.timeout_s,
            body_max=settings.answer_max_bytes,
            answer_max=settings.answer_max_bytes,
        )
        self._started = False

    async def start(self) -> None:
        """Read the document. Raises `ConfigError` for one that cannot be used, and `OutboundFailed` when it cannot be fetched."""
        if self._started:
            return
        document = await self._document()
        self.base_url = self._base_url(document)
        self._outbound.check(self.base_url, self.settings.headers)
        self.tools = self._tools(document)
        self._started = True

    async def drain(self) -> None:
        """There is nothing to wait for."""

    async def stop(self) -> None:
        """Let the resolver go. Stopping twice is stopping once."""
        self._started = False
        await self._outbound.stop()

    # -- the document

    async def _document(self) -> Document:
        place = self.settings.document
        if not place.startswith(("http://", "https://")):
            try:
                body = await asyncio.to_thread(Path(place).read_bytes)
            except OSError as error:
                raise ConfigError(
                    f"{place} (`tools.openapi.{self.name}.document`) cannot be read: {error.strerror}."
                ) from None
            return Document.read(self.name, body, place=place)
        outbound = Outbound(self.settings.allow, timeout_s=self.settings.timeout_s, answer_max=DOCUMENT_BYTES_MAX)
        try:
            answer = await outbound.ask("GET", place, b"", {"accept": "application/json, application/yaml;q=0.9"})
        finally:
            await outbound.stop()
        if answer.status != _OK or not answer.complete:
            raise OutboundFailed(f"{place} (`tools.openapi.{self.name}.document`) answers {answer.status}.")
        return Document.read(self.name, answer.body, place=place)

    def _base_url(self, document: Document) -> str:
        if self.settings.base_url:
            return self.settings.base_url.rstrip("/")
        base_url = document.base_url()
        elsewhere = document.is_remote and urlsplit(base_url)[:2] != urlsplit(document.place)[:2]
        if elsewhere and (self.settings.headers or self.settings.query):
            raise ConfigError(
                f"{document.place} says that its API is at {base_url}, which is another place: set `tools.openapi.{self.name}.base_url` "
                "if your credentials may be sent there."
            )
        return base_url

    def _tools(self, document: Document) -> dict[str, Tool]:
        said = self.settings
        hidden = frozenset(
            [f"header:{name.lower()}" for name in said.headers] + [f"query:{name.lower()}" for name in said.query]
        )
        tools: dict[str, Tool] = {}
        for named, operation in operations_of(document, hidden=hidden, prefix=said.prefix):
            if said.operations and not any(fnmatchcase(named, glob) for glob in said.operations):
                continue
            if isinstance(operation, str):
                _log.warning("The operation %s of %s is left out: %s.", named, document.place, operation)
            elif operation.name in tools:
                _log.warning("The operation %s of %s is left out: there are two of that name.", named, document.place)
            else:
                tools[operation.name] = self._tool(operation)
        return tools

    def _tool(self, operation: Operation) -> Tool:
        said = self.settings

        async def invoke(arguments: dict[str, Any], _call: ToolCall) -> ToolOutput:
            request = operation.request(self.base_url, arguments, headers=said.headers, query=said.query)
            headers = {"accept": "application/json, text/*;q=0.9, */*;q=0.1", **request.headers}
            try:
                answer = await self._outbound.ask(operation.method, request.url, request.body, headers)
            except (OutboundFailed, OutboundRefused) as error:
                raise unreachable(operation.name, error) from None
            return output_of_answer(answer)

        marks = Marks(
            read_only=operation.method in _READ,
            idempotent=operation.method in _REPEATABLE,
            timeout_s=said.timeout_s,
            untrusted=not said.trusted,
            source=f"openapi:{self.name}",
        )
        return Tool(operation.spec, invoke, marks=marks, returns=operation.returns)
