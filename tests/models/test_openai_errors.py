from __future__ import annotations

import json
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.errors import (
    ContentFiltered,
    ContextTooLong,
    ModelAuthFailed,
    ModelFailed,
    ModelNotFound,
    ModelRateLimited,
    ModelRequestInvalid,
    ModelStreamBroken,
    ModelUnavailable,
)
from corral.models.provider import LimitsSeen
from corral.models.wire.openai_errors import ErrorJson, duration_s, failure, limits_seen, said_failed, told

NOW = 1_800_000_000.0


def failed(status: int, body: Any = b"", headers: dict[str, str] | None = None) -> ModelFailed:
    return failure(status, headers or {}, body if isinstance(body, bytes) else json.dumps(body).encode(), NOW)


def error(message: str = "m", **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, **more}}


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (429, error(code="rate_limit_exceeded", type="tokens"), ModelRateLimited),
        (429, error(code="429", message="Requests to this API have exceeded the rate limit"), ModelRateLimited),
        (429, error(code="insufficient_quota", type="insufficient_quota"), ModelAuthFailed),
        (
            429,
            error("Request too large for gpt-4o on tokens per min (TPM)", code="rate_limit_exceeded"),
            ContextTooLong,
        ),
        (402, error("Insufficient Balance", type="unknown_error"), ModelAuthFailed),
        (400, error(code="context_length_exceeded", type="invalid_request_error"), ContextTooLong),
        (
            400,
            {"object": "error", "message": "This model's maximum context length is 8 tokens.", "code": 400},
            ContextTooLong,
        ),
        (
            400,
            error("the request exceeds the available context size", type="exceed_context_size_error"),
            ContextTooLong,
        ),
        (500, error("input is too long to process"), ContextTooLong),
        (413, b"too big", ContextTooLong),
        (400, error(code="content_filter", innererror={"code": "ResponsibleAIPolicyViolation"}), ContentFiltered),
        (400, error(code="400", innererror={"code": "ResponsibleAIPolicyViolation"}), ContentFiltered),
        (400, error(code="content_policy_violation"), ContentFiltered),
        (401, error(code="invalid_api_key"), ModelAuthFailed),
        (403, error(type="unsupported_country"), ModelAuthFailed),
        (404, error(code="model_not_found"), ModelNotFound),
        (404, error(code="DeploymentNotFound"), ModelNotFound),
        (404, b"404 page not found", ModelNotFound),
        (307, b"", ModelNotFound),
        (400, error(type="invalid_request_error", param="temperature"), ModelRequestInvalid),
        (422, {"detail": [{"loc": ["body", "messages"], "msg": "missing"}]}, ModelRequestInvalid),
        (400, [error("Gemini says so", status="INVALID_ARGUMENT")], ModelRequestInvalid),
        (408, b"", ModelUnavailable),
        (409, b"", ModelFailed),
        (500, error(type="server_error"), ModelFailed),
        (502, b"<html>Bad gateway</html>", ModelUnavailable),
        (503, error("The engine is currently overloaded", type="server_error"), ModelUnavailable),
        (504, b"", ModelUnavailable),
        (529, b"{}", ModelUnavailable),
        (418, b"[]", ModelRequestInvalid),
        (400, {"error": "just a text"}, ModelRequestInvalid),
    ],
)
def test_what_a_refusal_means(status: int, body: Any, kind: type[ModelFailed]) -> None:
    found = failed(status, body)
    assert type(found) is kind
    assert found.provider_status == status
    assert str(status) in found.message


def test_what_can_be_tried_again() -> None:
    assert failed(429).retryable
    assert failed(409).retryable
    assert not failed(429, error(code="insufficient_quota")).retryable
    assert not failed(400).retryable


def test_the_providers_own_words_are_shown_shortened() -> None:
    assert failed(400, error("  no\n such  field ", code="c")).message == "no such field (status 400)"
    assert failed(400, error("x", code="c")).provider_code == "c"
    assert failed(400, {"detail": "as a text"}).message == "as a text (status 400)"
    assert failed(422, {"detail": [{"msg": "missing"}]}).message == '[{"msg":"missing"}] (status 422)'
    page = b"<html><head><style>p{}</style><title>502</title></head><p>Bad  gateway</p>" + b"<p>x</p>" * 5000
    assert failed(502, page).message.startswith("502 Bad gateway x x")
    assert len(failed(502, page).message) < 550
    assert failed(500, b"\xff\xfe").message.endswith("(status 500)")
    assert "base_url" in failed(302, b"").message


def test_secrets_are_never_shown() -> None:
    found = told(
        failed(401, error("Incorrect key: sk-12345678 (sk-1234)")),
        provider="there",
        model="m",
        secrets=["sk-12345678", "sk"],
    )
    assert found.message == str(found) == "there: Incorrect key: [redacted] (sk-1234) (status 401)"
    assert (found.provider, found.model, found.provider_status) == ("there", "m", 401)


def test_how_long_to_wait() -> None:
    assert failed(429, headers={"retry-after": "3"}).retry_after_s == 3
    assert failed(429, headers={"retry-after-ms": "250", "retry-after": "3"}).retry_after_s == 0.25
    date = format_datetime(datetime.fromtimestamp(NOW + 7, UTC), usegmt=True)
    assert failed(429, headers={"retry-after": date}).retry_after_s == 7
    assert failed(429, headers={"retry-after": "soon"}).retry_after_s is None
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "17s"}
    assert failed(429, [error(details=[{"a": 1}, info])]).retry_after_s == 17
    assert failed(429, error(details="x")).retry_after_s is None


def test_errors_in_the_middle_of_a_stream() -> None:
    assert type(said_failed("gone")) is ModelStreamBroken
    assert type(said_failed(ErrorJson(message="m", type="server_error"))) is ModelFailed
    assert type(said_failed(ErrorJson(message="m", code=502))) is ModelUnavailable
    assert type(said_failed(ErrorJson(message="m", code="429"))) is ModelRateLimited
    assert type(said_failed(ErrorJson(message="m", code=7))) is ModelStreamBroken
    assert (
        type(said_failed(ErrorJson(message="maximum context length", type="invalid_request_error"))) is ContextTooLong
    )
    assert said_failed(ErrorJson(message={"a": 1})).message == '{"a":1}'


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("6m0s", 360), ("1.5s", 1.5), ("20ms", 0.02), ("1h2m3s", 3723), ("1d", 86400), ("7", 7), ("0", 0), ("0s", 0), ("1m30.5s", 90.5),
        ("", None), ("s", None), ("x", None), ("5 parsecs", None), ("1.2.3s", None), ("1m5", None), (".s", None), ("9" * 400, None), ("٣s", None), ("-1s", None),
    ],
)  # fmt: skip
def test_durations(text: str, seconds: float | None) -> None:
    assert duration_s(text) == (None if seconds is None else pytest.approx(seconds))


@given(st.text("0123456789.hmsdun µ-e", max_size=12))
def test_any_duration_is_a_number_or_none(text: str) -> None:
    found = duration_s(text)
    assert found is None or found >= 0


def test_limits_are_read_off_the_headers() -> None:
    assert limits_seen({}, NOW) is None
    headers = {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-limit-tokens": "150000",
        "x-ratelimit-remaining-tokens": "149984",
        "x-ratelimit-reset-tokens": "6m0s",
    }
    assert limits_seen(headers, NOW) == LimitsSeen(
        requests_limit=60,
        requests_left=59,
        requests_reset_s=1.0,
        tokens_limit=150000,
        tokens_left=149984,
        tokens_reset_s=360.0,
    )
    moments = {"x-ratelimit-reset-requests": str(NOW + 5), "x-ratelimit-reset-tokens": str(int((NOW + 6) * 1000))}
    assert limits_seen(moments, NOW) == LimitsSeen(requests_reset_s=5.0, tokens_reset_s=6.0)
    assert limits_seen({"retry-after": "2"}, NOW) == LimitsSeen(retry_after_s=2.0)
    odd = {"x-ratelimit-remaining-requests": "many", "x-ratelimit-reset-tokens": "later"}
    assert limits_seen(odd, NOW) == LimitsSeen()
