"""Tools out of an OpenAPI document, against a small API that remembers what it was asked."""

from __future__ import annotations

import json
from urllib.parse import parse_qsl

import pytest

from corral.errors import ConfigError, OutboundFailed, OutboundRefused
from corral.messages import ToolCall
from corral.settings.policy_sections import OpenApiSettings
from corral.tools.failing import ToolFailed
from corral.tools.naming import tool_name
from corral.tools.openapi.api import OpenApi
from corral.tools.openapi.document import Document
from listening import Listening, read_request

CALL = ToolCall(name="any")
DOCUMENT = {
    "openapi": "3.0.3",
    "info": {"title": "Shop", "version": "1"},
    "servers": [{"url": "http://{host}/v1", "variables": {"host": {"default": "127.0.0.1"}}}],
    "components": {
        "parameters": {"Id": {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}},
        "schemas": {
            "Order": {
                "type": "object",
                "properties": {
                    "id": {"type": "string"},
                    "note": {"type": "string", "nullable": True, "example": "hidden"},
                    "parent": {"$ref": "#/components/schemas/Order"},
                },
            }
        },
    },
    "paths": {
        "/orders/{id}": {
            "parameters": [{"$ref": "#/components/parameters/Id"}],
            "get": {
                "operationId": "getOrder",
                "summary": "Look an order up.",
                "description": "All of it.",
                "parameters": [
                    {"name": "fields", "in": "query", "schema": {"type": "array", "items": {"type": "string"}}},
                    {"name": "filter", "in": "query", "style": "deepObject", "schema": {"type": "object"}},
                    {"name": "flat", "in": "query", "explode": False, "schema": {"type": "array"}},
                    {"name": "X-Trace", "in": "header", "schema": {"type": "string"}, "description": "For the logs."},
                    {"name": "Authorization", "in": "header", "schema": {"type": "string"}},
                    {"name": "key", "in": "query", "required": True, "schema": {"type": "string"}},
                    {"name": "sid", "in": "cookie", "schema": {"type": "string"}},
                ],
                "responses": {
                    "200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Order"}}}}
                },
            },
            "put": {
                "operationId": "putOrder",
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Order"}}},
                },
                "responses": {"204": {"description": "Done"}},
            },
        },
        "/orders": {
            "post": {
                "operationId": "orders.create",
                "requestBody": {"content": {"application/x-www-form-urlencoded": {"schema": {"type": "object"}}}},
                "responses": {},
            },
            "delete": {"responses": {}},
        },
        "/upload": {
            "post": {
                "operationId": "upload",
                "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": {}}}},
                "responses": {},
            }
        },
    },
}


OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"


class Shop(Listening):
    """Says what it is told to, and remembers what it was asked."""

    def __init__(self):
        super().__init__(self.behave)
        self.answer = OK
        self.heard = []

    async def behave(self, reader, writer):
        self.heard.append(await read_request(reader))
        writer.write(self.answer)

    @property
    def asked(self):
        """Method, path and query of the last request."""
        method, target, _ = self.heard[-1][0].split(b"\r\n")[0].decode().split(" ")
        path, _, query = target.partition("?")
        return method, path, parse_qsl(query)

    @property
    def headers(self):
        lines = self.heard[-1][0].decode().split("\r\n")[1:]
        return dict(line.lower().split(": ", 1) for line in lines if line)


@pytest.fixture
async def shop():
    async with Shop() as server:
        yield server


@pytest.fixture
async def api(shop, tmp_path):
    made = []

    async def make(document=DOCUMENT, **said):
        path = tmp_path / "shop.json"
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        settings = {
            "document": str(path),
            "query": {"key": "k-1"},
            "headers": {"Authorization": "Bearer s"},
            "base_url": f"http://127.0.0.1:{shop.port}/v1/",
            "allow": ["127.0.0.1"],
        }
        made.append(OpenApi("shop", OpenApiSettings(**{**settings, **said})))
        await made[-1].start()
        return made[-1]

    yield make
    for one in made:
        await one.stop()
        await one.stop()


async def call(api, name, **arguments):
    return await api.tools[name].invoke(arguments, CALL)


# -- what models are told


async def test_each_operation_is_a_tool(api, caplog):
    one = await api()
    assert sorted(one.tools) == sorted(["getOrder", "putOrder", tool_name("orders.create"), "delete_orders"])
    assert "upload" in caplog.text
    get = one.tools["getOrder"]
    assert get.description == "Look an order up.\n\nAll of it."
    schema = get.spec.parameters
    assert set(schema["properties"]) == {"id", "fields", "filter", "flat", "X-Trace"}
    assert schema["required"] == ["id"]
    assert schema["properties"]["X-Trace"]["description"] == "For the logs."
    order = get.returns["properties"]
    assert order["note"] == {"type": ["string", "null"]}
    assert order["parent"] == {}
    assert one.tools["putOrder"].spec.parameters["required"] == ["id", "body"]


async def test_marks_follow_from_the_method(api):
    one = await api()
    marks = {name: (tool.marks.read_only, tool.marks.idempotent) for name, tool in one.tools.items()}
    assert marks["getOrder"] == (True, True)
    assert marks["putOrder"] == (False, True)
    assert marks[tool_name("orders.create")] == (False, False)
    assert all(tool.marks.untrusted and tool.marks.source == "openapi:shop" for tool in one.tools.values())
    trusted = await api(trusted=True)
    assert not trusted.tools["getOrder"].marks.untrusted


async def test_only_some_operations_are_taken(api):
    assert list((await api(operations=["get*"], prefix="shop_")).tools) == ["shop_getOrder"]


# -- what is sent


async def test_arguments_go_where_they_belong(api, shop):
    one = await api()
    arguments = {"fields": ["a", "b"], "filter": {"since": 1, "open": True}, "flat": [1, 2], "X-Trace": "t-1"}
    output = await call(one, "getOrder", id="a/b c", **arguments)
    assert output.value == {}
    assert shop.asked == (
        "GET",
        "/v1/orders/a%2Fb%20c",
        [
            ("fields", "a"),
            ("fields", "b"),
            ("filter[since]", "1"),
            ("filter[open]", "true"),
            ("flat", "1,2"),
            ("key", "k-1"),
        ],
    )
    assert shop.headers["authorization"] == "bearer s"
    assert shop.headers["x-trace"] == "t-1"
    assert "content-length" not in shop.headers


async def test_bodies_are_written_as_the_document_says(api, shop):
    one = await api()
    await call(one, "putOrder", id="1", body={"note": "x"})
    assert (shop.asked[0], shop.heard[-1][1]) == ("PUT", b'{"note":"x"}')
    assert shop.headers["content-type"] == "application/json"
    await call(one, tool_name("orders.create"), body={"a": "1 2", "b": [1, True]})
    assert shop.heard[-1][1] == b"a=1+2&b=1&b=true"
    assert shop.headers["content-type"] == "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "`id` is missing"),
        ({"id": "1", "other": 2}, "no `other`"),
        ({"id": ".."}, "cannot be '..'"),
        ({"id": ""}, "cannot be ''"),
        ({"id": "1", "key": "mine"}, "no `key`"),
        ({"id": "1", "X-Trace": "a\r\nx: y"}, "header"),
    ],
)
async def test_what_does_not_fit_is_not_sent(api, shop, arguments, words):
    one = await api()
    with pytest.raises(ToolFailed, match=words):
        await call(one, "getOrder", **arguments)
    assert shop.heard == []


# -- what comes back


@pytest.mark.parametrize(
    ("status", "head", "body", "code", "retryable", "after"),
    [
        ("404 Not Found", "", "no such order", "not_found", False, None),
        ("422 Odd", "", "no", "invalid_input", False, None),
        ("429 Slow", "retry-after: 7\r\n", "", "rate_limited", True, 7.0),
        ("503 Busy", "retry-after: soon\r\n", "", "unavailable", True, None),
        ("302 Found", "location: http://169.254.169.254/\r\n", "", "failed", False, None),
        ("418 Teapot", "", "", "failed", False, None),
    ],
)
async def test_errors_are_faults(api, shop, status, head, body, code, retryable, after):
    one = await api()
    shop.answer = f"HTTP/1.1 {status}\r\n{head}content-length: {len(body)}\r\n\r\n{body}".encode()
    with pytest.raises(ToolFailed, match=body or status[:3]) as failed:
        await call(one, "getOrder", id="1")
    fault = failed.value
    assert (fault.fault_code, fault.may_retry, fault.retry_after_s) == (code, retryable, after)


async def test_answers_that_are_not_json(api, shop):
    one = await api(answer_max_bytes=10)
    shop.answer = b"HTTP/1.1 204 No Content\r\n\r\n"
    assert "Done" in (await call(one, "putOrder", id="1", body={})).content[0]["text"]
    shop.answer = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=latin-1\r\ncontent-length: 2\r\n\r\n\xe4b"
    assert (await call(one, "getOrder", id="1")).content[0]["text"] == "äb"
    shop.answer = b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: 2\r\n\r\n\xe4b"
    assert "not text" in (await call(one, "getOrder", id="1")).content[0]["text"]
    shop.answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 20\r\n\r\n" + b'"' + b"x" * 19
    assert "Only the first 10 bytes" in (await call(one, "getOrder", id="1")).content[0]["text"]
    shop.answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1\r\n\r\n{"
    assert (await call(one, "getOrder", id="1")).content[0]["text"] == "{"


async def test_addresses_inside_of_the_house_are_not_called(api, shop):
    with pytest.raises(OutboundRefused):
        await api(allow=[])
    one = await api(base_url="http://localhost.example.invalid/")
    with pytest.raises(ToolFailed) as failed:
        await call(one, "getOrder", id="1")
    assert failed.value.fault_code == "unavailable"
    assert shop.heard == []


# -- documents


async def test_a_document_is_fetched(shop):
    body = json.dumps({**DOCUMENT, "servers": [{"url": "/v2"}]}).encode()
    shop.answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
    url = f"http://127.0.0.1:{shop.port}/docs/openapi.json"
    one = OpenApi("shop", OpenApiSettings(document=url, allow=["127.0.0.1"], headers={"X-Key": "s"}))
    await one.start()
    assert one.base_url == f"http://127.0.0.1:{shop.port}/v2"
    assert "x-key" not in shop.headers
    await one.stop()
    shop.answer = b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n"
    with pytest.raises(OutboundFailed, match="500"):
        await one.start()
    with pytest.raises(OutboundRefused):
        await OpenApi("shop", OpenApiSettings(document=url)).start()


async def test_a_fetched_document_does_not_send_our_key_elsewhere(shop):
    body = json.dumps({**DOCUMENT, "servers": [{"url": "https://evil.example/v1"}]}).encode()
    shop.answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
    url = f"http://127.0.0.1:{shop.port}/openapi.json"
    with pytest.raises(ConfigError, match=r"base_url"):
        await OpenApi("shop", OpenApiSettings(document=url, allow=["127.0.0.1"], headers={"X-Key": "s"})).start()


async def test_yaml_is_read_as_well(api):
    one = await api("openapi: 3.1.0\npaths:\n  /a:\n    get:\n      operationId: a\n      summary: Say A.\n")
    assert one.tools["a"].description == "Say A."


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("{", "neither JSON nor YAML"),
        ("[]", "no OpenAPI 3 document"),
        ('{"swagger": "2.0"}', "swagger 2.0"),
        ('{"openapi": "3.0.0", "paths": {"/a": {"$ref": "other.json#/x"}}}', "another file"),
        ('{"openapi": "3.0.0", "paths": {"/a": {"$ref": "#/nowhere"}}}', "no such thing"),
        ('{"openapi": "3.0.0", "paths": {"/a": {"$ref": "#/paths/~1a"}}}', "circle"),
    ],
)
async def test_documents_that_are_none_say_so(api, document, words):
    with pytest.raises(ConfigError, match=words):
        await api(document)


async def test_a_document_that_is_not_there_says_so():
    with pytest.raises(ConfigError, match=r"tools\.openapi\.shop"):
        await OpenApi("shop", OpenApiSettings(document="/no/such/file")).start()


async def test_an_api_without_a_place_says_so(api):
    with pytest.raises(ConfigError, match="base_url"):
        await api({**DOCUMENT, "servers": []}, base_url="")
    assert (await api(base_url="")).base_url == "http://127.0.0.1/v1"


def test_schemas_that_grow_without_end_are_cut():
    wide = {
        f"S{n}": {"properties": {k: {"$ref": f"#/components/schemas/S{n + 1}"} for k in "abcdefgh"}} for n in range(12)
    }
    document = Document("x", {"openapi": "3.0.0", "components": {"schemas": wide | {"S12": {}}}}, place="x")
    assert len(json.dumps(document.schema({"$ref": "#/components/schemas/S0"}))) < 2_000_000
