from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corral.outbound import connection as connection_module
from corral.outbound.connection import CallFailed, CallTimedOut
from corral.outbound.pool import Pool


class Server:
    """Answers each request with the next of these bytes, in the pieces given; none of them: it closes the connection."""

    def __init__(self, *answers: list[bytes] | None) -> None:
        self.answers = list(answers)
        self.connections = 0
        self.heads: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while self.answers:
                self.heads.append(await reader.readuntil(b"\r\n\r\n"))
                answer = self.answers.pop(0)
                if answer is None:
                    break
                for piece in answer:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def served(*answers: list[bytes] | None, **limits: float) -> AsyncIterator[tuple[Server, Pool, str]]:
    server = Server(*answers)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    pool = Pool(**{"connect_s": 5.0, "idle_s": 5.0} | limits)
    try:
        yield server, pool, f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1?x=1"
    finally:
        assert pool.open == 0
        pool.close()
        listening.close()
        await listening.wait_closed()


async def ask(pool: Pool, url: str, body: bytes = b"") -> tuple[int, bytes]:
    connection = await pool.ask("GET", url, {"x-a": "1"}, body, timeout_s=5.0)
    try:
        said = b""
        while (piece := await connection.read()) is not None:
            said += piece
        return connection.status, said
    finally:
        pool.give_back(connection)


OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"


async def test_a_connection_is_used_again():
    async with served([OK], [OK], [OK]) as (server, pool, url):
        assert [await ask(pool, url) for _ in range(3)] == [(200, b"hi")] * 3
        assert server.connections == 1
        assert server.heads[0].startswith(b"GET /v1?x=1 HTTP/1.1\r\nhost: 127.0.0.1:")


async def test_calls_at_the_same_time_have_connections_of_their_own():
    async with served([OK], [OK], [OK]) as (server, pool, url):
        assert await asyncio.gather(*(ask(pool, url) for _ in range(3))) == [(200, b"hi")] * 3
        assert server.connections == 3


async def test_a_kept_connection_that_was_closed_meanwhile_is_replaced():
    async with served([OK], None, [OK]) as (server, pool, url):
        await ask(pool, url)
        assert await ask(pool, url) == (200, b"hi")
        assert server.connections == 2


async def test_a_new_connection_that_is_closed_is_a_failure():
    async with served(None) as (_, pool, url):
        with pytest.raises(CallFailed, match="closed"):
            await ask(pool, url)


async def test_one_that_says_close_is_not_kept():
    closing = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi"
    async with served([closing], [OK]) as (server, pool, url):
        assert [await ask(pool, url) for _ in range(2)] == [(200, b"hi")] * 2
        assert server.connections == 2


async def test_a_body_that_ends_with_its_connection():
    async with served([b"HTTP/1.1 200 OK\r\n\r\nuntil", b" the end"]) as (_, pool, url):
        assert await ask(pool, url) == (200, b"until the end")


async def test_interim_answers_are_passed_over():
    async with served([b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early\r\nlink: x\r\n\r\n" + OK]) as (
        _,
        pool,
        url,
    ):
        assert await ask(pool, url) == (200, b"hi")


async def test_no_body_where_none_may_be():
    async with served([b"HTTP/1.1 204 None\r\n\r\n"], [OK]) as (server, pool, url):
        assert await ask(pool, url) == (204, b"")
        assert await ask(pool, url) == (200, b"hi")
        assert server.connections == 1


@pytest.mark.parametrize(
    "said", [b"SSH-2.0 hello\r\n", b"HTTP/1.1 101 Up\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nhello"]
)
async def test_what_is_no_http(said):
    async with served([said], [OK]) as (_, pool, url):
        with pytest.raises(CallFailed, match="no HTTP"):
            await ask(pool, url)


async def test_headers_without_end(monkeypatch):
    monkeypatch.setattr(connection_module, "_HEAD_BYTES_MAX", 100)
    async with served([b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 40]) as (_, pool, url):
        with pytest.raises(CallFailed, match="without end"):
            await ask(pool, url)


async def test_more_than_was_announced_is_not_taken_for_the_next_answer():
    evil = b"HTTP/1.1 500 Bad\r\ncontent-length: 4\r\n\r\nevil"
    async with served([OK + evil], [OK], [OK, evil], [OK]) as (server, pool, url):
        assert [await ask(pool, url) for _ in range(2)] == [(200, b"hi")] * 2
        assert server.connections == 2


@pytest.mark.parametrize(
    "evil", [b"HTTP/1.1 200 OK\r\nx: ", b"HTTP/1.1 500 Bad\r\ncontent-le", b"HT", b"HTTP/1.1 100 C\r\n"]
)
async def test_the_beginning_of_another_answer_is_not_that_of_the_next_one(evil):
    gone = b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno"
    async with served([OK + evil], [gone]) as (server, pool, url):
        assert [await ask(pool, url) for _ in range(2)] == [(200, b"hi"), (404, b"no")]
        assert server.connections == 2


async def test_line_ends_after_an_answer_are_passed_over():
    async with served([OK + b"\r\n"], [OK]) as (server, pool, url):
        assert [await ask(pool, url) for _ in range(2)] == [(200, b"hi")] * 2
        assert server.connections == 1


async def test_who_reads_slowly_holds_up_the_sender(monkeypatch):
    monkeypatch.setattr(connection_module, "_BUFFERED_MAX", 1000)
    body = b"x" * 5_000_000
    async with served([b"HTTP/1.1 200 OK\r\ncontent-length: 5000000\r\n\r\n" + body]) as (_, pool, url):
        connection = await pool.ask("GET", url, {}, b"", timeout_s=5.0)
        said = 0
        while (piece := await connection.read()) is not None:
            said += len(piece)
            assert len(piece) < 2_000_000
            await asyncio.sleep(0)
        pool.give_back(connection)
        assert said == len(body)


async def test_time_is_bounded():
    async with served([b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nh"], [OK], idle_s=0.05) as (_, pool, url):
        with pytest.raises(CallTimedOut):
            await ask(pool, url)


async def test_the_whole_call_is_bounded_too():
    async with served([b"HTTP/1.1 200 OK\r\n"], [OK]) as (_, pool, url):
        with pytest.raises(CallTimedOut):
            await pool.ask("GET", url, {}, b"", timeout_s=0.05)


@pytest.mark.parametrize(("first_s", "second_s"), [(5.0, 0.1), (0.1, 0.3)])
async def test_each_call_over_one_connection_has_a_time_of_its_own(first_s, second_s):
    async with served([OK], [], [OK]) as (server, pool, url):
        connection = await pool.ask("GET", url, {}, b"", timeout_s=first_s)
        while await connection.read() is not None:
            pass
        pool.give_back(connection)
        began = asyncio.get_running_loop().time()
        with pytest.raises(CallTimedOut):
            await pool.ask("GET", url, {}, b"", timeout_s=second_s)
        assert asyncio.get_running_loop().time() - began >= second_s
        assert server.connections == 1


async def test_headers_that_have_changed_are_written_anew():
    async with served([OK], [OK], [OK]) as (server, pool, url):
        headers = {"x-key": "one"}
        for key in ("one", "one", "two"):
            headers["x-key"] = key
            connection = await pool.ask("GET", url, headers, b"", timeout_s=5.0)
            while await connection.read() is not None:
                pass
            pool.give_back(connection)
        assert [head.count(b"x-key: two") for head in server.heads] == [0, 0, 1]


@pytest.mark.parametrize(
    "url", ["ftp://x/", "nowhere", "http:///x", "http://h/a b", "http://h/a\r\nx: y", "http://u:p@h/"]
)
async def test_addresses_that_are_none(url):
    pool = Pool(connect_s=1, idle_s=1)
    with pytest.raises(ValueError, match="address"):
        await pool.ask("GET", url, {}, b"", timeout_s=1)


@settings(deadline=None)
@given(name=st.text(max_size=5), value=st.text(max_size=5), end=st.sampled_from(["\r\n", "\n", "\r", "\0"]))
async def test_a_header_holds_no_other_header(name, value, end):
    pool = Pool(connect_s=1, idle_s=1)
    with pytest.raises(ValueError, match=r"line break|latin-1"):
        await pool.ask("GET", "http://127.0.0.1:1/", {name + end: value}, b"", timeout_s=1)


@settings(deadline=None, max_examples=50)
@given(body=st.binary(max_size=300), cuts=st.lists(st.integers(0, 600), max_size=8), chunked=st.booleans())
async def test_it_does_not_matter_where_an_answer_is_cut(body, cuts, chunked):
    if chunked:
        middle = len(body) // 2
        parts = [part for part in (body[:middle], body[middle:]) if part]
        framed = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
        answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + framed
    else:
        answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
    places = sorted({min(cut, len(answer)) for cut in cuts})
    pieces = [answer[a:b] for a, b in zip([0, *places], [*places, len(answer)], strict=True)]
    async with served([piece for piece in pieces if piece]) as (_, pool, url):
        assert await ask(pool, url) == (200, body)


async def test_a_certificate_that_nobody_signed_is_refused(own_certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own_certificate)
    server = Server([OK])
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=context)
    pool = Pool(connect_s=5, idle_s=5)
    url = f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"
    with pytest.raises(CallFailed, match="not to be trusted"):
        await ask(pool, url)
    trusting = Pool(connect_s=5, idle_s=5)
    trusting._tls = ssl.create_default_context(cafile=str(own_certificate))
    assert await ask(trusting, url) == (200, b"hi")
    trusting.close()
    listening.close()
    await listening.wait_closed()


async def test_through_a_proxy(own_certificate, monkeypatch):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own_certificate)
    behind = Server([OK])
    listening = await asyncio.start_server(behind.serve, "127.0.0.1", 0, ssl=context)
    port = listening.sockets[0].getsockname()[1]
    asked = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(head.split(b"\r\n")[0])
        if b"refused" in head:
            writer.write(b"HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n")
            writer.close()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")

        async def carry(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            while data := await source.read(4096):
                target.write(data)
            target.close()

        await asyncio.gather(carry(reader, far_writer), carry(far_reader, writer))

    proxying = await asyncio.start_server(proxy, "127.0.0.1", 0)
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxying.sockets[0].getsockname()[1]}")
    monkeypatch.setenv("no_proxy", "")
    pool = Pool(connect_s=5, idle_s=5)
    pool._tls = ssl.create_default_context(cafile=str(own_certificate))
    pool._tls.check_hostname = False
    assert await ask(pool, "https://models.example/v1") == (200, b"hi")
    with pytest.raises(CallFailed, match="403"):
        await ask(pool, "https://refused.example/v1")
    assert asked == [b"CONNECT models.example:443 HTTP/1.1", b"CONNECT refused.example:443 HTTP/1.1"]
    pool.close()
    for one in (proxying, listening):
        one.close()
        await one.wait_closed()
