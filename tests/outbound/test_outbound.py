from __future__ import annotations

import asyncio
import ssl
import subprocess

import pytest

from corral.errors import OutboundFailed, OutboundRefused
from corral.outbound.client import Outbound
from corral.outbound.target import target_of
from listening import Listening, answering, read_request

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Said: yes\r\n\r\nok"


@pytest.fixture
async def outbound():
    """Makes clients that may call the loopback."""
    made = []

    def make(*allow: str, **options) -> Outbound:
        made.append(Outbound(allow or ["127.0.0.1"], **options))
        return made[-1]

    yield make
    for client in made:
        await client.stop()
        await client.stop()


def names(*answers: str):
    """A name server that gives one answer after the other, and then the last one for ever."""
    asked = []

    async def resolve(host, port):
        asked.append(host)
        return answers[min(len(asked), len(answers)) - 1].split()

    resolve.asked = asked
    return resolve


async def test_a_body_goes_out_and_an_answer_comes_back(outbound):
    heard = []

    async def behave(reader, writer):
        heard.append(await read_request(reader))
        writer.write(OK)

    async with Listening(behave) as server:
        answer = await outbound().post(
            f"http://127.0.0.1:{server.port}/a/b?c=d#e", b'{"x":1}', {"X-Key": "k", "Accept": "text/plain"}
        )
    assert (answer.status, answer.body, answer.complete) == (200, b"ok", True)
    assert answer.headers["x-said"] == "yes"
    head, body = heard[0]
    assert body == b'{"x":1}'
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /a/b?c=d HTTP/1.1"
    assert f"host: 127.0.0.1:{server.port}" in lines
    assert {"x-key: k", "accept: text/plain", "content-length: 7", "connection: close"} <= set(lines)


async def test_the_name_is_resolved_once_and_its_address_pinned(outbound):
    resolve = names("127.0.0.1", "127.0.0.2")
    heard = []

    async def behave(reader, writer):
        heard.append(await read_request(reader))
        writer.write(OK)

    async with Listening(behave) as server:
        client = outbound(resolve=resolve)
        assert (await client.post(f"http://hooks.example:{server.port}/", b"", {})).status == 200
        assert resolve.asked == ["hooks.example"]
        assert f"host: hooks.example:{server.port}".encode() in heard[0][0]
        with pytest.raises(OutboundRefused, match=r"hooks\.example"):  # the name moved to where nobody may call
            await client.post(f"http://hooks.example:{server.port}/", b"", {})
        assert server.connections == 1


@pytest.mark.parametrize(
    "answers", ["127.0.0.1 10.0.0.1", "10.0.0.1 127.0.0.1", "127.0.0.1 ::1", "127.0.0.1 ::ffff:10.0.0.1"]
)
async def test_one_private_answer_among_others_refuses_all(outbound, answers):
    async with Listening(answering(OK)) as server:
        with pytest.raises(OutboundRefused):
            await outbound(resolve=names(answers)).post(f"http://hooks.example:{server.port}/", b"", {})
        assert server.connections == 0


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.1", "0x7f000001", "2130706433", "017700000001", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0"],
)
async def test_the_house_itself_is_never_called(host):
    client = Outbound()
    async with Listening(answering(OK)) as server:
        with pytest.raises(OutboundRefused):
            await client.post(f"http://{host}:{server.port}/", b"", {})
        assert server.connections == 0
    with pytest.raises(OutboundRefused):
        client.check(f"http://{host}:{server.port}/", {})
    await client.stop()


async def test_a_host_that_is_allowed_by_name_may_be_anywhere(outbound):
    async with Listening(answering(OK)) as server:
        client = outbound("localhost")
        client.check(f"http://localhost:{server.port}/", {})
        assert (await client.post(f"http://localhost:{server.port}/", b"", {})).status == 200


async def test_an_address_that_does_not_answer_is_passed_over(outbound):
    async with Listening(answering(OK)) as server:
        client = outbound("127.0.0.0/8", resolve=names("127.0.0.9 127.0.0.1"))
        assert (await client.post(f"http://hooks.example:{server.port}/", b"", {})).status == 200


async def test_a_redirect_is_an_answer_and_nothing_more(outbound):
    moved = b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n"
    async with Listening(answering(moved)) as server:
        answer = await outbound().post(f"http://127.0.0.1:{server.port}/", b"", {})
        assert answer.status == 302
        assert server.connections == 1


@pytest.mark.parametrize(
    ("said", "body", "complete"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", b"until the end", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + OK, b"ok", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", b"abcde", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", b"abc", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", b"short", False),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok and more", b"ok", True),
        (b"HTTP/1.0 200 OK\r\n\r\nold", b"old", True),
    ],
)
async def test_answers_end_in_many_ways(outbound, said, body, complete):
    async with Listening(answering(said)) as server:
        answer = await outbound().post(f"http://127.0.0.1:{server.port}/", b"{}", {})
    assert (answer.body, answer.complete) == (body, complete)
    assert "link" not in answer.headers


async def test_no_more_is_read_than_the_bound(outbound):
    async def behave(reader, writer):
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:  # until the client has had enough
            writer.write(b"x" * 65_536)
            await writer.drain()

    async with Listening(behave) as server:
        answer = await outbound(answer_max=1000).post(f"http://127.0.0.1:{server.port}/", b"", {})
    assert (answer.status, answer.body, answer.complete) == (200, b"x" * 1000, False)


@pytest.mark.parametrize(
    ("behave", "said"),
    [
        (answering(b"SSH-2.0-OpenSSH_9.2\r\n"), "not HTTP"),
        (answering(b""), "before an answer"),
        (answering(b"HTTP/1.1 200 OK\r\nContent-"), "before an answer"),
        (answering(b"HTTP/1.1 100 Continue\r\n\r\n"), "before an answer"),
        (answering(b"HTTP/1.1 200 OK\r\n" + b"X-Long: " + b"x" * 200_000), "before an answer"),
        (answering(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nzz"), "not HTTP"),
    ],
)
async def test_what_is_no_answer_is_a_failure(outbound, behave, said):
    async with Listening(behave) as server:
        with pytest.raises(OutboundFailed, match=said):
            await outbound().post(f"http://127.0.0.1:{server.port}/", b"", {})


async def test_an_answer_that_stops_halfway_is_given_up(outbound):
    async def behave(reader, writer):
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort")
        await reader.read()  # until the client has left

    async with Listening(behave) as server:
        with pytest.raises(OutboundFailed, match=r"No answer within 0\.1 s"):
            await outbound(timeout_s=0.1).post(f"http://127.0.0.1:{server.port}/", b"", {})


async def test_a_name_server_that_does_not_answer_is_given_up(outbound):
    async def resolve(host, port):
        await asyncio.Event().wait()

    with pytest.raises(OutboundFailed, match="No answer"):
        await outbound(timeout_s=0.05, resolve=resolve).post("http://hooks.example/", b"", {})


async def test_nobody_there_and_nobody_known(outbound):
    async with Listening(answering(OK)) as server:
        port = server.port
    with pytest.raises(OutboundFailed, match="connection failed"):
        await outbound().post(f"http://127.0.0.1:{port}/", b"", {})
    with pytest.raises(OutboundFailed, match="not known"):
        await outbound(resolve=names("")).post("http://hooks.example/", b"", {})
    with pytest.raises(OutboundFailed, match="not known"):
        await outbound().post(f"http://{'a' * 70}.example/", b"", {})


async def test_a_server_that_refuses_a_large_body_is_heard(outbound):
    async def behave(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        await reader.read()

    async with Listening(behave) as server:
        answer = await outbound(body_max=10_000_000).post(f"http://127.0.0.1:{server.port}/", b"x" * 5_000_000, {})
    assert answer.status == 413


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://example.com/", "begin with"),
        ("file:///etc/passwd", "begin with"),
        ("gopher://example.com:25/x", "begin with"),
        ("//example.com", "begin with"),
        ("http://user:secret@example.com/", "a password"),
        ("http://example.com\\@127.0.0.1/", "characters"),
        ("http://example.com/\r\nHost: x", "characters"),
        ("http://exämple.com/", "characters"),
        ("http://example.com/ x", "characters"),
        ("http://", "no host"),
        ("http://a%2fb/", "no host"),
        ("http://[fe80::1%25eth0]/", "no host"),
        ("http://example.com:0/", "no host"),
        ("http://example.com:99999/", "understood"),
        ("http://[::1/", "understood"),
        ("http://example.com/" + "x" * 2048, "characters"),
    ],
)
async def test_a_url_that_nobody_should_call_is_refused(outbound, url, said):
    with pytest.raises(OutboundRefused, match=said):
        outbound().check(url, {})
    with pytest.raises(OutboundRefused, match=said):
        await outbound().post(url, b"", {})


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "169.254.169.254"},
        {"Content-Length": "0"},
        {"Transfer-Encoding": "chunked"},
        {"X-A": "b\r\nX-C: d"},
        {"X-A": "b\n"},
        {"X A": "b"},
        {"": "b"},
        {"X-A": "ä"},
        {"X-A": "b" * 9000},
        {f"X-{n}": "b" for n in range(51)},
    ],
)
async def test_headers_that_could_mean_something_else_are_refused(outbound, headers):
    with pytest.raises(OutboundRefused):
        outbound().check("https://example.com/", headers)


async def test_bodies_are_bounded(outbound):
    with pytest.raises(OutboundRefused, match="more than 10 bytes"):
        await outbound(body_max=10).post("https://example.com/", b"x" * 11, {})


def test_a_url_in_its_parts():
    assert target_of("HTTPS://Hooks.Example:443").authority == "hooks.example"
    assert target_of("https://hooks.example:8443/x").authority == "hooks.example:8443"
    assert target_of("http://[2606:4700::1]:80/").authority == "[2606:4700::1]"


# -- TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate of `hooks.example`, signed by itself: the server's context and one that trusts it."""
    folder = tmp_path_factory.mktemp("tls")
    key, chain = str(folder / "key.pem"), str(folder / "chain.pem")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", key, "-out", chain, "-days", "2", "-subj", "/CN=hooks.example"]
    try:
        subprocess.run(
            [*command, "-addext", "subjectAltName=DNS:hooks.example"], check=True, capture_output=True, timeout=20
        )
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(chain, key)
    return server, ssl.create_default_context(cafile=chain)


async def test_the_certificate_is_that_of_the_name_and_not_of_the_address(outbound, certificate):
    served, trusting = certificate
    async with Listening(answering(OK), tls=served) as server:
        client = outbound(resolve=names("127.0.0.1"), tls=trusting)
        assert (await client.post(f"https://hooks.example:{server.port}/", b"", {})).status == 200
        assert (await client.post(f"https://hooks.example.:{server.port}/", b"", {})).status == 200
        with pytest.raises(OutboundFailed, match="certificate is not trusted"):
            await client.post(f"https://other.example:{server.port}/", b"", {})


async def test_a_certificate_that_nobody_vouches_for_is_not_trusted(outbound, certificate):
    async with Listening(answering(OK), tls=certificate[0]) as server:
        with pytest.raises(OutboundFailed, match="certificate is not trusted"):
            await outbound(resolve=names("127.0.0.1")).post(f"https://hooks.example:{server.port}/", b"", {})


async def test_a_server_that_does_not_speak_tls(outbound):
    async with Listening(answering(OK)) as server:
        with pytest.raises(OutboundFailed):
            await outbound(timeout_s=2).post(f"https://127.0.0.1:{server.port}/", b"", {})
