"""Every error Corral raises on purpose: its HTTP status, its stable code, and whether trying again can help."""

from __future__ import annotations

from typing import ClassVar


class CorralError(Exception):
    """Something went wrong inside Corral."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str | None = None,
        *,
        errors: list[dict[str, object]] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        """Say `message`, or the class's docstring when there is nothing more exact to say.

        `errors` lists single faults (`{"pointer": "/prompt", "message": "…"}`); `retry_after_s` becomes `Retry-After`.
        """
        self.message = message or (type(self).__doc__ or "").strip()
        self.errors = errors or []
        self.retry_after_s = retry_after_s
        super().__init__(self.message)


# -- what the caller sent -----------------------------------------------------------------------------------------


class BadRequest(CorralError):
    """The request could not be understood."""

    status = 400
    code = "bad_request"


class InvalidJson(BadRequest):
    """The request body is not valid JSON."""

    code = "invalid_json"
    contract_title = "Invalid JSON"


class InvalidEncoding(BadRequest):
    """The request body is not valid UTF-8."""

    code = "invalid_encoding"
    contract_title = "Invalid encoding"


class ValidationFailed(BadRequest):
    """The request does not have the shape that is asked for."""

    code = "validation_error"


class Unauthenticated(CorralError):
    """Send a key: `Authorization: Bearer …` or `X-Api-Key: …`."""

    status = 401
    code = "auth_error"


class Forbidden(CorralError):
    """Your key does not have the role that this needs."""

    status = 403
    code = "forbidden"


class NotFound(CorralError):
    """There is nothing at this address."""

    status = 404
    code = "not_found"


class MethodNotAllowed(CorralError):
    """This address does not answer that method."""

    status = 405
    code = "method_not_allowed"


class PayloadTooLarge(CorralError):
    """The request body is larger than this server accepts."""

    status = 413
    code = "payload_too_large"


class IdempotencyKeyReused(CorralError):
    """This idempotency key was used before with a different request."""

    status = 422
    code = "idempotency_key_reused"


# -- sessions -----------------------------------------------------------------------------------------------------


class SessionNotFound(NotFound):
    """There is no such session."""

    code = "session_not_found"


class EventNotFound(NotFound):
    """There is no such event in this session."""

    code = "event_not_found"


class CursorNotFound(NotFound):
    """This cursor is not one that was given out; leave it away to start again."""

    code = "cursor_not_found"


class SessionCold(CorralError):
    """What is asked of this session needs events that lie in the archive: ask through the service that has it (`sessions.tiers`)."""

    status = 503
    code = "session_cold"


class SessionExists(CorralError):
    """A session with this id exists already."""

    status = 409
    code = "session_exists"


class SessionBusy(CorralError):
    """Another request has this session's turn."""

    status = 409
    code = "session_busy"
    retryable = True


class SessionQueueFull(CorralError):
    """Too many requests already wait for this session's turn."""

    status = 429
    code = "session_queue_full"
    retryable = True


class TurnLost(CorralError):
    """This request no longer has the session's turn: its lease ran out or another request took over."""

    status = 409
    code = "turn_lost"


class StateConflict(CorralError):
    """The session's state was changed by somebody else since it was read."""

    status = 409
    code = "state_conflict"
    retryable = True


# -- jobs ---------------------------------------------------------------------------------------------------------


class JobNotFound(NotFound):
    """There is no such job."""

    code = "job_not_found"


class JobStateConflict(CorralError):
    """The job is not in a state in which this can be done."""

    status = 409
    code = "job_state_conflict"


class AgentUnavailable(CorralError):
    """This worker does not have that agent; another one may."""

    status = 404
    code = "agent_unavailable"
    retryable = True


class QueueFull(CorralError):
    """This queue holds as many jobs as it may; try again later."""

    status = 429
    code = "queue_full"
    retryable = True


class ClaimLost(CorralError):
    """This worker no longer holds the job: its lease ran out and another one took over."""

    status = 409
    code = "claim_lost"


class WaitTimeout(CorralError):
    """Nobody answered in time what the job waited for."""

    status = 504
    code = "wait_timeout"


class SignatureInvalid(CorralError):
    """This message was not signed with any of the secrets, or too long ago."""

    status = 401
    code = "signature_invalid"


class DeterminismFault(CorralError):
    """The job asked for other steps than in its earlier attempt, so its journal does not fit."""

    code = "determinism_fault"


# -- calls to the outside -----------------------------------------------------------------------------------------


class OutboundRefused(CorralError):
    """This address may not be called from here."""

    status = 400
    code = "outbound_refused"


class OutboundFailed(CorralError):
    """The other side did not answer."""

    status = 502
    code = "outbound_failed"
    retryable = True


class StepNotKept(CorralError):
    """A step returned what cannot be kept."""

    code = "step_not_kept"


# -- models -------------------------------------------------------------------------------------------------------


class ModelFailed(CorralError):
    """The model did not answer."""

    status = 502
    code = "model_failed"
    retryable = True

    def __init__(
        self,
        message: str | None = None,
        *,
        provider: str = "",
        model: str = "",
        provider_status: int = 0,
        provider_code: str = "",
        retry_after_s: float | None = None,
        partial: object = None,
        wished: bool = False,
    ) -> None:
        """`partial` is what a stream had said (a `ModelReply`) before it broke; the provider's own words are in `message`.

        `wished`: who asked wanted just that, so it says nothing about how others would fare there.
        """
        super().__init__(message, retry_after_s=retry_after_s)
        self.provider = provider
        self.model = model
        self.provider_status = provider_status
        self.provider_code = provider_code
        self.partial = partial
        self.wished = wished


class ModelUnavailable(ModelFailed):
    """The model's provider cannot be reached, or says that it is overloaded."""

    status = 503
    code = "model_unavailable"


class ModelTimeout(ModelFailed):
    """The model did not answer in time."""

    status = 504
    code = "model_timeout"


class ModelStreamBroken(ModelFailed):
    """The model's answer broke off."""

    code = "model_stream_broken"


class ModelRateLimited(ModelFailed):
    """The model's provider allows no more calls for now."""

    status = 429
    code = "model_rate_limited"


class ModelRequestInvalid(ModelFailed):
    """The model's provider does not accept this request."""

    status = 400
    code = "model_request_invalid"
    retryable = False


class ContextTooLong(ModelRequestInvalid):
    """The conversation is longer than this model can read."""

    code = "context_too_long"


class ContentFiltered(ModelRequestInvalid):
    """The model's provider refuses this content."""

    code = "content_filtered"


class ModelAuthFailed(ModelFailed):
    """The model's provider does not accept our credentials."""

    code = "model_auth_failed"
    retryable = False


class ModelNotFound(ModelFailed):
    """There is no such model."""

    status = 404
    code = "model_not_found"
    retryable = False


class PaceExceeded(ModelFailed):
    """A place within the provider's limits would come too late for this call."""

    status = 429
    code = "pace_exceeded"


class NotCached(CorralError):
    """Only a kept answer was wanted, and there is none."""

    status = 404
    code = "not_cached"


# -- memory ---------------------------------------------------------------------------------------------------------


class MemoryNotFound(NotFound):
    """There is nothing like this among what you may see of the memory."""

    code = "memory_not_found"


class MemoryForbidden(CorralError):
    """You may not write to this part of the memory."""

    status = 403
    code = "memory_forbidden"


class MemoryConflict(CorralError):
    """This is kept under another version, or in a place you may not look."""

    status = 409
    code = "memory_conflict"


# -- an invocation's end ------------------------------------------------------------------------------------------


class AgentFailed(CorralError):
    """The agent raised an error."""

    code = "agent_error"

    def __init__(self, message: str | None = None, *, original: BaseException | None = None) -> None:
        """Keep the agent's own error; one made for HTTP (with `status_code` and `detail`) is answered as it says.

        An error of a client library that only has a `status_code` is not: that status was meant for the agent.
        """
        super().__init__(message)
        self.original = original
        self.said: str = self.message if message is None else message
        """The agent's own words, which may be none at all."""
        self.detail: object = self.said
        self.answer_status: int = self.status
        status = getattr(original, "status_code", None)
        if isinstance(status, int) and 400 <= status <= 599 and hasattr(original, "detail"):  # noqa: PLR2004 - HTTP's errors
            self.detail, self.answer_status = getattr(original, "detail", None), status


class NoEntrypoint(CorralError):
    """No entrypoint defined."""

    code = "no_entrypoint"


class Cancelled(CorralError):
    """The invocation was cancelled."""

    status = 409
    code = "cancelled"


class Interrupted(Cancelled):
    """A newer request took over this session's turn."""

    code = "interrupted"


class DeadlineExceeded(CorralError):
    """The invocation took longer than it was allowed to."""

    status = 504
    code = "deadline_exceeded"
    retryable = True


class Draining(CorralError):
    """This worker is shutting down; try again and another one will answer."""

    status = 503
    code = "draining"
    retryable = True


class Overloaded(CorralError):
    """This worker has as many invocations as it may run at once."""

    status = 503
    code = "overloaded"
    retryable = True


# -- the house itself ---------------------------------------------------------------------------------------------


class StoreUnavailable(CorralError):
    """The store does not answer."""

    status = 503
    code = "store_unavailable"
    retryable = True


class StoreOutgrown(StoreUnavailable):
    """A newer version of Corral has changed the store under this process. Its message names nothing that is secret."""


class ConfigError(CorralError):
    """The configuration cannot be used."""

    code = "config_error"


class AppLoadError(CorralError):
    """The file with the agents could not be loaded."""

    code = "app_load_error"


def error_of(code: str, message: str) -> CorralError:
    """The error of a stable code, for what was written down as code and message; `AgentFailed` where there is none."""
    waiting: list[type[CorralError]] = [CorralError]
    while waiting:
        kind = waiting.pop()
        if kind.__dict__.get("code") == code and kind is not CorralError:
            return kind(message)
        waiting += kind.__subclasses__()
    return AgentFailed(message)
