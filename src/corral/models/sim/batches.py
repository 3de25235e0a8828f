"""OpenAI's batches: a file of requests goes in, and later a file of answers comes out."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

import msgspec

from corral.models.sim.engine import Engine
from corral.models.sim.refusal import Refused
from corral.models.sim.shapes import openai_embeddings, openai_errors
from corral.models.sim.shapes.shape import JSON_TYPE, Asked, Shape, Written, to_json

_FILES_MAX = 200
_BYTES_MAX = 512 * 1024 * 1024
_LINES_MAX = 50_000
_DAY_S = 86_400
_EMBEDDINGS = "/v1/embeddings"


class BatchBody(msgspec.Struct, kw_only=True):
    """The body of `/v1/batches`."""

    input_file_id: str
    endpoint: str
    completion_window: str
    metadata: dict[str, str] | None = None


class _Line(msgspec.Struct, kw_only=True):
    custom_id: str
    url: str
    body: msgspec.Raw
    method: str = "POST"


class _File(msgspec.Struct, kw_only=True):
    id: str
    name: str
    purpose: str
    content: bytes
    created: int

    def shown(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "file",
            "bytes": len(self.content),
            "created_at": self.created,
            "filename": self.name,
            "purpose": self.purpose,
            "status": "processed",
        }


class _Batch(msgspec.Struct, kw_only=True):
    id: str
    body: BatchBody
    created: int
    due: float
    status: str = "in_progress"
    ended: int = 0
    output: str | None = None
    errors: str | None = None
    total: int = 0
    failed: int = 0


class Batches:
    """Files and batches. A batch is worked off when somebody asks for it and its time has come: nothing runs meanwhile."""

    def __init__(self, engine: Engine, shapes: Mapping[str, Shape]) -> None:
        """`shapes` by the address that a line names."""
        self._engine = engine
        self._shapes = shapes
        self.reset()

    def reset(self) -> None:
        """Forget all files and batches."""
        self._files: OrderedDict[str, _File] = OrderedDict()
        self._batches: OrderedDict[str, _Batch] = OrderedDict()
        self._count = 0

    def answer(self, method: str, asked: Asked, query: str) -> Written:  # noqa: PLR0911 - one for each address
        """Answer what is asked about either; raises `Refused`."""
        _, _, noun, *rest = asked.path.split("/")
        match (noun, method, rest):
            case ("files", "POST", []):
                return _json(self._upload(asked).shown())
            case ("files", "GET", []):
                return _json(
                    {"object": "list", "data": [file.shown() for file in self._files.values()], "has_more": False}
                )
            case ("files", "GET", [name]):
                return _json(self._file(name).shown())
            case ("files", "GET", [name, "content"]):
                return Written(200, [(b"content-type", b"application/octet-stream")], self._file(name).content)
            case ("files", "DELETE", [name]):
                del self._files[self._file(name).id]
                return _json({"id": name, "object": "file", "deleted": True})
            case ("batches", "POST", []):
                return _json(self._shown(self._create(asked)))
            case ("batches", "GET", []):
                return _json(self._listed(query))
            case ("batches", "GET", [name]):
                return _json(self._shown(self._batch(name)))
            case ("batches", "POST", [name, "cancel"]):
                return _json(self._shown(self._cancelled(self._batch(name))))
            case _:
                raise Refused("invalid", f"Invalid URL ({method} {asked.path})", status=404)

    # -- files

    def _upload(self, asked: Asked) -> _File:
        fields = form_of(asked.header(b"content-type"), asked.body)
        if "file" not in fields or "purpose" not in fields:
            raise Refused("invalid", "'file' and 'purpose' are required.", param="file")
        name, content = fields["file"]
        return self._kept(name or "upload.jsonl", fields["purpose"][1].decode("utf-8", "replace"), content)

    def _kept(self, name: str, purpose: str, content: bytes) -> _File:
        if (
            len(self._files) >= _FILES_MAX
            or sum(len(file.content) for file in self._files.values()) + len(content) > _BYTES_MAX
        ):
            raise Refused("invalid", "There is no room for another file: delete some.", status=413)
        file = _File(id=self._id("file"), name=name, purpose=purpose, content=content, created=self._now())
        self._files[file.id] = file
        return file

    def _file(self, name: str) -> _File:
        found = self._files.get(name)
        if found is None:
            raise Refused("invalid", f"No such File object: {name}", status=404, param="id")
        return found

    def _id(self, kind: str) -> str:
        self._count += 1
        return f"{kind}-sim{self._count:08d}" if kind == "file" else f"{kind}_sim{self._count:08d}"

    def _now(self) -> int:
        return int(self._engine.clock.now())

    # -- batches

    def _create(self, asked: Asked) -> _Batch:
        try:
            body = msgspec.json.decode(asked.body, type=BatchBody)
        except msgspec.DecodeError as error:
            raise Refused("invalid", str(error)) from None
        if body.endpoint not in self._shapes and body.endpoint != _EMBEDDINGS:
            raise Refused("invalid", f"Invalid value: '{body.endpoint}'.", param="endpoint")
        if body.completion_window != "24h":
            raise Refused(
                "invalid",
                f"Invalid value: '{body.completion_window}'. Supported values are: '24h'.",
                param="completion_window",
            )
        content = self._file(body.input_file_id).content
        due = self._engine.clock.monotonic() + self._engine.options.batch_s
        batch = _Batch(id=self._id("batch"), body=body, created=self._now(), due=due)
        batch.total = sum(1 for line in content.splitlines() if line.strip())
        if not 1 <= batch.total <= _LINES_MAX:
            batch.status, batch.ended = "failed", self._now()
        self._batches[batch.id] = batch
        if len(self._batches) > _FILES_MAX:
            self._batches.popitem(last=False)
        return batch

    def _batch(self, name: str) -> _Batch:
        batch = self._batches.get(name)
        if batch is None:
            raise Refused("invalid", f"No batch found with id '{name}'.", status=404)
        if batch.status == "in_progress" and self._engine.clock.monotonic() >= batch.due:
            self._work_off(batch)
        return batch

    def _cancelled(self, batch: _Batch) -> _Batch:
        if batch.status == "in_progress":
            batch.status, batch.ended = "cancelled", self._now()
        return batch

    def _listed(self, query: str) -> dict[str, Any]:
        given = parse_qs(query)
        limit = min(max(int(given["limit"][0]) if given.get("limit", [""])[0].isdigit() else 20, 1), 100)
        names = list(reversed(self._batches))
        after = given.get("after", [""])[0]
        if after in names:
            names = names[names.index(after) + 1 :]
        data = [self._shown(self._batch(name)) for name in names[:limit]]
        first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
        return {"object": "list", "data": data, "first_id": first, "last_id": last, "has_more": len(names) > limit}

    def _work_off(self, batch: _Batch) -> None:
        good: list[bytes] = []
        bad: list[bytes] = []
        for number, line in enumerate(self._file(batch.body.input_file_id).content.splitlines()):
            if not line.strip():
                continue
            outcome, well = self._line(batch, number, line)
            (good if well else bad).append(to_json(outcome))
        batch.failed = len(bad)
        batch.status, batch.ended = "completed", self._now()
        if good:
            batch.output = self._kept(f"{batch.id}_output.jsonl", "batch_output", b"\n".join(good) + b"\n").id
        if bad:
            batch.errors = self._kept(f"{batch.id}_error.jsonl", "batch_output", b"\n".join(bad) + b"\n").id

    def _line(self, batch: _Batch, number: int, raw: bytes) -> tuple[dict[str, Any], bool]:
        name = ""
        request = f"batch_req_{batch.id[6:]}{number:06d}"
        try:
            line = msgspec.json.decode(raw, type=_Line)
            name = line.custom_id
            written = Written(200, [], self._answered(line, batch.body.endpoint))
        except msgspec.DecodeError as error:
            written = openai_errors.refuse(Refused("invalid", str(error)), "", "")
        except Refused as refused:
            written = openai_errors.refuse(refused, "", "")
        response = {"status_code": written.status, "request_id": request, "body": msgspec.Raw(written.body)}
        return {"id": request, "custom_id": name, "response": response, "error": None}, written.status < 400  # noqa: PLR2004 - HTTP's errors

    def _answered(self, line: _Line, endpoint: str) -> bytes:
        if line.url != endpoint:
            raise Refused("invalid", f"The line is for {line.url}, the batch for {endpoint}.", param="url")
        asked = Asked(line.url, {}, bytes(line.body), strict=self._engine.options.strict)
        if line.url == _EMBEDDINGS:
            body, texts = openai_embeddings.read(asked)
            turn = self._engine.begin_embedding(body.model, texts, free=True)
            turn.close()
            return openai_embeddings.whole(body, texts, turn, self._engine.model(body.model), self._engine.options.seed)
        shape = self._shapes[line.url]
        question = shape.read(asked)
        turn = self._engine.begin(question.call, kind="openai.batch", free=True)
        turn.close()
        return shape.whole(question, [turn])

    def _shown(self, batch: _Batch) -> dict[str, Any]:
        over = batch.status == "completed"
        moments = {
            f"{name}_at": batch.ended if batch.status == name else None for name in ("failed", "expired", "cancelled")
        }
        return moments | {
            "id": batch.id,
            "object": "batch",
            "endpoint": batch.body.endpoint,
            "errors": None,
            "input_file_id": batch.body.input_file_id,
            "completion_window": batch.body.completion_window,
            "status": batch.status,
            "output_file_id": batch.output,
            "error_file_id": batch.errors,
            "created_at": batch.created,
            "in_progress_at": batch.created,
            "expires_at": batch.created + _DAY_S,
            "finalizing_at": batch.ended if over else None,
            "completed_at": batch.ended if over else None,
            "cancelling_at": None,
            "request_counts": {
                "total": batch.total,
                "completed": batch.total - batch.failed if over else 0,
                "failed": batch.failed,
            },
            "metadata": batch.body.metadata,
        }


def _json(content: dict[str, Any]) -> Written:
    return Written(200, [JSON_TYPE], to_json(content))


def form_of(content_type: str, body: bytes) -> dict[str, tuple[str, bytes]]:
    """The fields of a `multipart/form-data` body: file name (may be empty) and content."""
    boundary = content_type.partition("boundary=")[2].partition(";")[0].strip().strip('"')
    if not boundary:
        raise Refused("invalid", "Send the file as multipart/form-data.", param="file")
    fields: dict[str, tuple[str, bytes]] = {}
    for piece in body.split(b"--" + boundary.encode())[1:]:
        head, gap, content = piece.partition(b"\r\n\r\n")
        if not gap:
            continue
        names = _disposition(head.decode("utf-8", "replace"))
        fields[names.get("name", "")] = (names.get("filename", ""), content.removesuffix(b"\r\n"))
    return fields


def _disposition(head: str) -> dict[str, str]:
    for line in head.split("\r\n"):
        name, _, value = line.partition(":")
        if name.strip().lower() == "content-disposition":
            pairs = (pair.partition("=") for pair in value.split(";")[1:])
            return {key.strip(): given.strip().strip('"') for key, _, given in pairs}
    return {}
