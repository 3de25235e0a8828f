"""Buckets over HTTP, as clients of S3 ask for them: at `/s3`, and at any address when the request is signed for S3.

Only what small files need: buckets are made, listed and removed; objects are written whole, read whole or in one range, listed,
and removed. Who asks is known by its key or its signature, as everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from email.utils import formatdate
from typing import Any
from urllib.parse import quote, unquote

from corral.clock import rfc3339
from corral.errors import BadRequest, CorralError, PayloadTooLarge
from corral.server.dialects import ContractDialect, ErrorBody, retry_headers, said_outside, status_of
from corral.server.http import Header, Request
from corral.server.markup import escape
from corral.server.routes import Answer, Param, Route
from corral.workflows.bucket_store import BucketNotFound, StoredObject
from corral.workflows.distributed.buckets import PIECE, BucketNotEmpty, Buckets, ObjectNotFound

ROOT = b"/s3"
SIGNED = b"aws4_request"
"""In every signature of AWS's clients, whatever it is for."""
_SIGNED = (b"/s3/aws4_request", b"%2Fs3%2Faws4_request")
"""In the header of a request for S3, and in a URL that was signed beforehand."""
_XML = b"application/xml"
_LISTED_MAX = 1000
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_KEY_BYTES_MAX = 512
_NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


class BucketNameInvalid(BadRequest):
    """The specified bucket is not valid."""

    code = "invalid_bucket_name"


class NotOffered(CorralError):
    """A header or query you provided implies functionality that is not implemented."""

    status = 400
    code = "not_implemented"


_CODES: dict[type[CorralError], str] = {
    BucketNotFound: "NoSuchBucket",
    ObjectNotFound: "NoSuchKey",
    BucketNotEmpty: "BucketNotEmpty",
    BucketNameInvalid: "InvalidBucketName",
    NotOffered: "NotImplemented",
    PayloadTooLarge: "EntityTooLarge",
}
_BY_STATUS = {
    400: "InvalidRequest",
    401: "AccessDenied",
    403: "AccessDenied",
    404: "NoSuchKey",
    503: "ServiceUnavailable",
}


class S3Dialect(ContractDialect):
    """Errors as XML."""

    def error(self, request: Request, error: BaseException) -> ErrorBody:
        """`<Error><Code>…`."""
        status = status_of(error)
        code = _CODES.get(type(error)) or _BY_STATUS.get(status, "InternalError")  # type: ignore[arg-type]  # others have no name
        resource = escape(request.scope["path"])
        body = (
            f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{escape(said_outside(error))}</Message>'
            f"<Resource>{resource}</Resource><RequestId>{escape(request.context.request_id)}</RequestId></Error>"
        )
        return ErrorBody(status, body.encode(errors="replace"), _XML, retry_headers(error))

    def headers(self, request: Request) -> Sequence[Header]:
        """None of its own."""
        del request
        return ()


S3 = S3Dialect()


def bucket_path(path: bytes, signature: bytes) -> bytes:
    """Where a request for a bucket is answered: below `/s3`, with a key as one segment. Other requests stay where they are.

    `signature` is the header `Authorization`; where there is none, the query.
    """
    if path != ROOT and not path.startswith(ROOT + b"/"):
        header, url = _SIGNED
        if header not in signature and url not in signature:
            return path
        path = ROOT + path
    bucket, slash, key = path[len(ROOT) + 1 :].partition(b"/")
    if not slash or not key:
        return ROOT + b"/" + bucket if bucket else ROOT  # "s3" is too short for a bucket's name
    return b"/".join((ROOT, bucket, key.replace(b"/", b"%2F")))


class BucketRoutes:
    """What answers for buckets."""

    def __init__(self, buckets: Buckets) -> None:
        """Every tenant sees its own."""
        self._buckets = buckets

    def routes(self) -> list[Route]:
        """All of them."""
        bucket = Param("bucket", "path", "The bucket's name.", {"type": "string"}, required=True)
        key = Param("key", "path", "The object's key, its slashes encoded or not.", {"type": "string"}, required=True)
        table: tuple[tuple[str, str, Any, str, int], ...] = (
            ("GET", "/s3", self.buckets, "ListBuckets", 200),
            ("PUT", "/s3/{bucket}", self.create, "CreateBucket", 200),
            ("GET", "/s3/{bucket}", self.objects, "ListObjectsV2, or HeadBucket", 200),
            ("POST", "/s3/{bucket}", self.delete_some, "DeleteObjects", 200),
            ("DELETE", "/s3/{bucket}", self.drop, "DeleteBucket", 204),
            ("PUT", "/s3/{bucket}/{key}", self.put, "PutObject", 200),
            ("GET", "/s3/{bucket}/{key}", self.get, "GetObject, or HeadObject", 200),
            ("DELETE", "/s3/{bucket}/{key}", self.delete, "DeleteObject", 204),
        )
        return [
            Route(
                method=method,
                path=path,
                handler=handler,
                tag="buckets",
                dialect=S3,
                needs="developer" if handler in {self.create, self.drop} else "invoker",
                summary=f"{summary}, as clients of S3 ask for it.",
                params=tuple(param for param in (bucket, key) if f"{{{param.name}}}" in path),
                answers=_answers(status, "object" if handler == self.get else "document"),
            )
            for method, path, handler, summary, status in table
        ]

    async def buckets(self, request: Request) -> None:
        """All buckets."""
        listed = await self._buckets.listed(request.context.tenant)
        inner = "".join(
            f"<Bucket><Name>{escape(one.name)}</Name><CreationDate>{rfc3339(one.created_at)}</CreationDate></Bucket>"
            for one in listed
        )
        await _xml(request, "ListAllMyBucketsResult", f"<Owner><ID>corral</ID></Owner><Buckets>{inner}</Buckets>")

    async def create(self, request: Request) -> None:
        """One more; one that is there is made already."""
        name = request.params["bucket"]
        await request.body()
        if request.query:
            raise NotOffered
        if _NAME.fullmatch(name) is None:
            raise BucketNameInvalid
        await self._buckets.create(request.context.tenant, name)
        await request.respond(200, b"", _XML, [(b"location", f"/{name}".encode())])

    async def drop(self, request: Request) -> None:
        """Remove one that is empty."""
        await self._buckets.drop(request.context.tenant, request.params["bucket"])
        await request.respond(204, b"", _XML)

    async def objects(self, request: Request) -> None:
        """The objects of one, by key."""
        tenant, bucket, query = request.context.tenant, request.params["bucket"], request.query
        if request.method == "HEAD":
            await self._buckets.check(tenant, bucket)
            await request.respond(200, b"", _XML)
            return
        if "location" in query:
            await self._buckets.check(tenant, bucket)
            await _xml(request, "LocationConstraint", "")
            return
        if set(query) & {"versions", "uploads", "acl", "policy", "versioning", "tagging"} or query.get("delimiter"):
            raise NotOffered
        listing = await self._listing(tenant, bucket, query)
        await _xml(request, "ListBucketResult", listing)

    async def _listing(self, tenant: str, bucket: str, query: dict[str, str]) -> str:
        prefix = query.get("prefix", "")
        second = query.get("list-type") == "2"
        after = unquote(query.get("continuation-token", "")) or query.get("start-after" if second else "marker", "")
        asked = query.get("max-keys", "")
        limit = min(int(asked), _LISTED_MAX) if asked.isascii() and asked.isdigit() else _LISTED_MAX
        page = await self._buckets.page(tenant, bucket, prefix=prefix, after=after, limit=limit + 1) if limit else []
        more, page = len(page) > limit, page[:limit]
        encoded = query.get("encoding-type") == "url"

        def shown(text: str) -> str:
            return quote(text, safe="/") if encoded else escape(text)

        parts = [f"<Name>{escape(bucket)}</Name><Prefix>{shown(prefix)}</Prefix><MaxKeys>{limit}</MaxKeys>"]
        if encoded:
            parts.append("<EncodingType>url</EncodingType>")
        parts.append(f"<IsTruncated>{'true' if more else 'false'}</IsTruncated>")
        if second:
            parts.append(f"<KeyCount>{len(page)}</KeyCount>")
        if more:
            name = "NextContinuationToken" if second else "NextMarker"
            parts.append(f"<{name}>{quote(page[-1].key) if second else shown(page[-1].key)}</{name}>")
        parts += [_listed(one, shown(one.key)) for one in page]
        return "".join(parts)

    async def put(self, request: Request) -> None:
        """Write an object."""
        if b"x-amz-copy-source" in request.headers or set(request.query) & {"partNumber", "uploadId", "tagging", "acl"}:
            raise NotOffered
        key = request.params["key"]
        if len(key.encode()) > _KEY_BYTES_MAX:
            raise BadRequest(f"A key may have {_KEY_BYTES_MAX} bytes.")
        body = await request.body()
        if (
            "aws-chunked" in (request.header(b"content-encoding") or "")
            or b"x-amz-decoded-content-length" in request.headers
        ):
            body = unchunked(body)
        kind = request.header(b"content-type") or "binary/octet-stream"
        one = await self._buckets.put(request.context.tenant, request.params["bucket"], key, body, content_type=kind)
        await request.respond(200, b"", _XML, [(b"etag", _etag(one))])

    async def get(self, request: Request) -> None:
        """Read an object."""
        tenant = request.context.tenant
        one = await self._buckets.get(tenant, request.params["bucket"], request.params["key"])
        headers = [
            (b"etag", _etag(one)),
            (b"last-modified", formatdate(one.modified_at, usegmt=True).encode()),
            (b"accept-ranges", b"bytes"),
        ]
        kind = one.content_type.encode("latin-1", "replace")
        if request.method == "HEAD":
            await _head(request, kind, one.size, headers)
            return
        first, last = _range(request.header(b"range"), one.size)
        if (first, last) != (0, one.size - 1) or one.size <= PIECE:
            whole = b"".join([piece async for piece in self._buckets.body(tenant, one)])
            is_part = (first, last) != (0, one.size - 1) and one.size > 0
            if is_part:
                headers.append((b"content-range", b"bytes %d-%d/%d" % (first, last, one.size)))
            await request.respond(206 if is_part else 200, whole[first : last + 1], kind, headers)
            return
        writer = await request.open_stream(200, kind, headers)
        async for piece in self._buckets.body(tenant, one):
            if writer.write_piece(piece):
                await writer.drain()
        ended: Any = writer.end_stream(b"")
        if ended is not None:
            await ended

    async def delete(self, request: Request) -> None:
        """Remove an object."""
        await self._buckets.delete(request.context.tenant, request.params["bucket"], request.params["key"])
        await request.respond(204, b"", _XML)

    async def delete_some(self, request: Request) -> None:
        """Remove several objects."""
        if "delete" not in request.query:
            raise NotOffered
        body = await request.body()
        keys = [_unescaped(found) for found in re.findall(rb"<Key>(.*?)</Key>", body, re.DOTALL)][:_LISTED_MAX]
        for key in keys:
            await self._buckets.delete(request.context.tenant, request.params["bucket"], key)
        inner = "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys)
        await _xml(request, "DeleteResult", inner)


def _answers(status: int, what: str) -> dict[int, Answer]:
    refused = Answer("It is refused, with a code that clients of S3 know", {"type": "string"}, _XML.decode())
    done = Answer("It is done") if status == 204 else Answer(f"The {what}", {"type": "string"}, _XML.decode())  # noqa: PLR2004 - HTTP's own number
    if what == "object":
        done = Answer("The object, as what it was written", {"type": "string", "format": "binary"}, "*/*")
    return {status: done, 400: refused, 404: refused, 409: refused, 413: refused}


def unchunked(body: bytes) -> bytes:
    """What a client sent in signed chunks, or in chunks with a checksum behind them."""
    parts: list[bytes] = []
    at = 0
    while True:
        end = body.find(b"\r\n", at)
        try:
            size = int(body[at:end].partition(b";")[0], 16)
        except ValueError:
            raise BadRequest("The body is not in the chunks that its headers announce.") from None
        if end < 0 or size < 0 or len(body) < end + 2 + size:
            raise BadRequest("The body ends within a chunk.")
        if size == 0:
            return b"".join(parts)
        parts.append(body[end + 2 : end + 2 + size])
        at = end + 2 + size + 2


def _range(asked: str | None, size: int) -> tuple[int, int]:
    """The first and the last byte that are wanted: of a range that cannot be, all."""
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", asked or "")
    if found is None or not (found[1] or found[2]):
        return 0, size - 1
    if not found[1]:
        return max(0, size - int(found[2])), size - 1
    first, last = int(found[1]), min(int(found[2]), size - 1) if found[2] else size - 1
    return (first, last) if first <= last else (0, size - 1)


async def _xml(request: Request, name: str, inner: str) -> None:
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<{name} {_NAMESPACE}>{inner}</{name}>'
    await request.respond(200, body.encode(), _XML)


async def _head(request: Request, kind: bytes, size: int, headers: list[Header]) -> None:
    """The head of an object: it announces a body that does not come."""
    request.status = 200
    content = [(b"content-length", b"%d" % size), (b"content-type", kind), *request.response_headers, *headers]
    connection = request.scope.get("corral.connection")
    if connection is not None:
        connection.respond(200, content, b"")
        return
    await request.send({"type": "http.response.start", "status": 200, "headers": content})
    await request.send({"type": "http.response.body", "body": b""})


def _listed(one: StoredObject, key: str) -> str:
    return (
        f"<Contents><Key>{key}</Key><LastModified>{rfc3339(one.modified_at)}</LastModified><ETag>&quot;{one.etag}&quot;</ETag>"
        f"<Size>{one.size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
    )


def _etag(one: StoredObject) -> bytes:
    return f'"{one.etag}"'.encode()


def _unescaped(text: bytes) -> str:
    import html  # noqa: PLC0415 - for those who remove several at once

    return html.unescape(text.decode(errors="replace"))
