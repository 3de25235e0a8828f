from __future__ import annotations

import datetime as dt
from unittest import mock
from urllib.parse import quote

import pytest
from botocore.auth import SIGNED_HEADERS_BLACKLIST, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st

from corral.outbound.sigv4 import AwsKeys, signed

NOW = dt.datetime(2025, 11, 3, 4, 5, 6, tzinfo=dt.UTC)
KEYS = st.builds(
    AwsKeys, st.text("AKIA123", min_size=4), st.text("abc/+=", min_size=1), st.sampled_from(["", "tok/en=="])
)
MODELS = st.one_of(
    st.sampled_from(
        [
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/eu.amazon.nova-lite-v1:0",
            "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123",
        ]
    ),
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=20),
)
VISIBLE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=10)
VALUES = st.lists(VISIBLE, min_size=1, max_size=3).map("  ".join)
NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,10}", fullmatch=True).filter(
    lambda name: (
        name not in {"host", "x-amz-date", "x-amz-security-token", "date", "authorization", "x-amz-content-sha256"}
    )
)


def theirs(method: str, url: str, headers: dict[str, str], body: bytes, keys: AwsKeys) -> str:
    request = AWSRequest(method=method, url=url, data=body, headers=headers)
    with mock.patch("botocore.auth.get_current_datetime", return_value=NOW.replace(tzinfo=None)):
        SigV4Auth(Credentials(keys.access_key, keys.secret_key, keys.token or None), "bedrock", "eu-west-1").add_auth(
            request
        )
    return request.headers["Authorization"]


def ours(method: str, url: str, headers: dict[str, str], body: bytes, keys: AwsKeys) -> dict[str, str]:
    return signed(method, url, headers, body, keys=keys, region="eu-west-1", service="bedrock", now=NOW.timestamp())


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["GET", "POST", "PUT"]),
    MODELS.map(lambda model: f"/model/{quote(model, safe='')}/converse")
    | st.text("/.a%~- b", max_size=12).map(lambda path: f"/{quote(path, safe='/%~')}"),
    st.lists(st.tuples(st.text("ab%20", min_size=1, max_size=4), st.text("xy%7E", max_size=4)), max_size=3),
    st.sampled_from(["https://bedrock-runtime.eu-west-1.amazonaws.com", "http://127.0.0.1:4566"]),
    st.dictionaries(NAMES, VALUES, max_size=3),
    st.binary(max_size=40),
    KEYS,
)
def test_the_official_signer_signs_the_same(method, path, query, root, headers, body, keys):
    url = root + path + ("?" + "&".join(f"{name}={value}" for name, value in query) if query else "")
    assert ours(method, url, headers, body, keys)["authorization"] == theirs(method, url, headers, body, keys)


def test_what_is_sent_with_it():
    keys = AwsKeys("AKIA", "secret", "token")
    sent = ours("POST", "https://there/x", {"Content-Type": "application/json", "User-Agent": "me"}, b"{}", keys)
    assert sent["x-amz-date"] == "20251103T040506Z"
    assert sent["x-amz-security-token"] == "token"
    assert sent["user-agent"] == "me"
    assert "user-agent" not in sent["authorization"]
    assert "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token," in sent["authorization"]
    assert "secret" not in repr(keys)


@pytest.mark.parametrize("path", ["", "/", "/a/../b", "/../a/./b/", "//a//b//", "/a/.."])
def test_paths_are_made_plain_as_the_official_signer_does(path):
    url, keys = f"https://there{path}", AwsKeys("AKIA", "secret")
    assert ours("GET", url, {}, b"", keys)["authorization"] == theirs("GET", url, {}, b"", keys)


@pytest.mark.parametrize("name", SIGNED_HEADERS_BLACKLIST)
def test_what_others_may_change_on_the_way_is_not_signed(name):
    url, keys = "https://there/", AwsKeys("AKIA", "secret")
    assert ours("GET", url, {name: "x"}, b"", keys)["authorization"] == ours("GET", url, {}, b"", keys)["authorization"]


@pytest.mark.parametrize(
    "change", [{"method": "GET"}, {"body": b"x"}, {"url": "https://there/y"}, {"headers": {"a": "c"}}]
)
def test_what_is_changed_on_the_way_is_signed_otherwise(change):
    asked = {"method": "POST", "url": "https://there/x", "headers": {"a": "b"}, "body": b""}
    keys = AwsKeys("AKIA", "secret")
    assert ours(**asked, keys=keys)["authorization"] != ours(**asked | change, keys=keys)["authorization"]
