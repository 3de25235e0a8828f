from __future__ import annotations

import base64
import subprocess

import pytest

from corral.errors import ConfigError, SignatureInvalid
from corral.jobs.signing import keys_of, sign, verify

OLD = "whsec_" + base64.b64encode(b"an old secret of 32 bytes length").decode()
NEW = "whsec_" + base64.b64encode(b"a new secret, of 32 bytes as well").decode()
BODY = '{"type":"job.succeeded","data":{"text":"größer"}}'.encode()
NOW = 1_614_265_330


def signed(secrets: str, body: bytes = BODY, at: int = NOW) -> dict[str, str]:
    return sign(keys_of(secrets), "msg_1", at, body)


def test_a_published_vector():
    """The example that the Standard Webhooks libraries are tested with."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    headers = sign(keys_of(secret), "msg_p5jXN8AQM9LWM0D4loKWxJek", NOW, b'{"test": 2432232314}')
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_a_vector_computed_by_another_program():
    key = b"an old secret of 32 bytes length"
    command = ["openssl", "dgst", "-sha256", "-mac", "HMAC", "-macopt", f"hexkey:{key.hex()}", "-binary"]
    try:
        done = subprocess.run(command, input=b"msg_1.1614265330." + BODY, capture_output=True, check=True, timeout=20)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    assert signed(OLD)["webhook-signature"] == "v1," + base64.b64encode(done.stdout).decode()


def test_what_was_signed_is_verified_and_its_id_told():
    assert verify(BODY, signed(OLD), OLD, now=NOW) == "msg_1"


def test_headers_are_found_however_they_are_written():
    headers = {name.title(): value for name, value in signed(OLD).items()}
    assert verify(BODY, headers, OLD, now=NOW) == "msg_1"


def test_secrets_are_changed_without_a_gap():
    both = f"{NEW} {OLD}"
    assert len(signed(both)["webhook-signature"].split()) == 2
    for receiver in (OLD, NEW, both):
        assert verify(BODY, signed(both), receiver, now=NOW)
    assert verify(BODY, signed(NEW), both, now=NOW)


def test_signatures_of_other_kinds_are_passed_over():
    headers = signed(OLD)
    headers["webhook-signature"] = "v1a,abc v2,def é " + headers["webhook-signature"]
    assert verify(BODY, headers, OLD, now=NOW)


@pytest.mark.parametrize(
    "change",
    [
        lambda headers: headers | {"webhook-id": "msg_2"},
        lambda headers: headers | {"webhook-timestamp": str(NOW + 1)},
        lambda headers: headers | {"webhook-signature": "v1,AAAA"},
        lambda headers: headers | {"webhook-signature": ""},
        lambda headers: headers | {"webhook-signature": headers["webhook-signature"].replace("v1,", "v2,")},
        lambda headers: headers | {"webhook-timestamp": "soon"},
        lambda headers: headers | {"webhook-timestamp": "²"},
        lambda headers: {name: value for name, value in headers.items() if name != "webhook-signature"},
        lambda headers: {},
    ],
)
def test_anything_else_is_refused(change):
    with pytest.raises(SignatureInvalid):
        verify(BODY, change(signed(OLD)), OLD, now=NOW)


def test_another_body_or_secret_is_refused():
    with pytest.raises(SignatureInvalid):
        verify(BODY + b" ", signed(OLD), OLD, now=NOW)
    with pytest.raises(SignatureInvalid):
        verify(BODY, signed(OLD), NEW, now=NOW)


@pytest.mark.parametrize("off", [-301, 301])
def test_a_message_of_another_time_is_refused(off):
    assert verify(BODY, signed(OLD), OLD, now=NOW + off // 2)
    with pytest.raises(SignatureInvalid, match="300 s"):
        verify(BODY, signed(OLD), OLD, now=NOW + off)


@pytest.mark.parametrize("secret", ["whsec_!!!", "whsec_", "whsec_" + base64.b64encode(b"short").decode(), "whsec_ü"])
def test_a_secret_that_cannot_be_used_says_how_to_make_one(secret):
    with pytest.raises(ConfigError, match="make one with"):
        keys_of(secret)


def test_nothing_is_genuine_without_a_secret():
    with pytest.raises(ConfigError):
        verify(BODY, signed(OLD), " ", now=NOW)
