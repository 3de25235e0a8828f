"""An SQS queue, through boto3 (the extra `aws`)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from corral.errors import ConfigError
from corral.jobs.bridges.port import Message, ShutOutError, TryAgainError
from corral.jobs.request import TAGS_MAX

_POLL_S = 20
"""The longest poll that SQS knows."""
_BATCH = 10
_CONNECT_S = 10
_ANSWER_S = 30
_VISIBILITY_DEFAULT_S = 30
_TAG_CHARS_MAX = 100
_USELESS = (
    "AccessDenied",
    "AccessDeniedException",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "SignatureDoesNotMatch",
    "QueueDoesNotExist",
    "AWS.SimpleQueueService.NonExistentQueue",
)

Fault = tuple[Message, Mapping[str, Any]]
Draft = Callable[["SqsQueue", Mapping[str, Any]], Message]
"""Makes a message of what SQS says about one."""


class SqsQueue:
    """One queue. Clients of boto3 may be used by several threads."""

    def __init__(
        self, url: str, draft: Draft, *, region: str | None, endpoint_url: str | None, visibility_s: int | None
    ) -> None:
        """Asks the queue about itself. Raises `ConfigError` when that cannot be done."""
        parts = urlsplit(url)
        self.url = url
        self.name = parts.path.rpartition("/")[2]
        if not parts.scheme.startswith("http") or not self.name:
            raise ConfigError(
                f"{url!r} is not the URL of an SQS queue, such as https://sqs.eu-west-1.amazonaws.com/123/jobs."
            )
        self._draft = draft
        self._client = _client(region or _region_of(parts.hostname or ""), endpoint_url)
        about = self._about()
        self.is_fifo = self.name.endswith(".fifo")
        self.retention_s = float(about.get("MessageRetentionPeriod", 345_600))
        """How long a message may come again."""
        self.visibility_s = visibility_s or int(about.get("VisibilityTimeout", 0)) or _VISIBILITY_DEFAULT_S
        self.has_dead_letters = "RedrivePolicy" in about

    def _about(self) -> dict[str, str]:
        try:
            found: dict[str, str] = self._ask("get_queue_attributes", AttributeNames=["All"]).get("Attributes", {})
        except (TryAgainError, ShutOutError) as error:
            raise ConfigError(f"The queue {self.url} cannot be asked: {error}") from None
        return found

    def receive(self, limit: int) -> list[Message]:
        """Wait up to 20 s for messages."""
        answer = self._ask(
            "receive_message",
            MaxNumberOfMessages=min(limit, _BATCH),
            WaitTimeSeconds=_POLL_S,
            VisibilityTimeout=self.visibility_s,
            MessageSystemAttributeNames=["MessageGroupId", "SentTimestamp", "ApproximateReceiveCount"],
            MessageAttributeNames=["All"],
        )
        return [self._draft(self, message) for message in answer.get("Messages", ())]

    def extend(self, messages: Sequence[Message]) -> list[Message]:
        """Keep them for another visibility time."""
        failed = self._visible_in(self.visibility_s, messages)
        return [message for message, fault in failed if fault.get("SenderFault")]  # SQS's own faults pass

    def release(self, messages: Sequence[Message]) -> None:
        """Give them back at once."""
        self._visible_in(0, messages)

    def delete(self, messages: Sequence[Message]) -> list[Message]:
        """Delete them; those that SQS did not delete."""
        return [message for message, _ in self._in_batches("delete_message_batch", messages, {})]

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _visible_in(self, seconds: int, messages: Sequence[Message]) -> list[Fault]:
        return self._in_batches("change_message_visibility_batch", messages, {"VisibilityTimeout": seconds})

    def _in_batches(self, action: str, messages: Sequence[Message], more: dict[str, Any]) -> list[Fault]:
        """Do something to all; those with which it did not work, and why."""
        failed: list[Fault] = []
        for some in _batches(messages):
            entries = [
                {"Id": str(number), "ReceiptHandle": message.receipt, **more} for number, message in enumerate(some)
            ]
            faults = self._ask(action, Entries=entries).get("Failed", ())
            failed += [(some[int(fault["Id"])], fault) for fault in faults]
        return failed

    def _ask(self, action: str, **parameters: Any) -> dict[str, Any]:
        from botocore.exceptions import (  # type: ignore[import-untyped]  # noqa: PLC0415 - boto3 has no types, and is an extra
            BotoCoreError,
            ClientError,
        )

        try:
            answer: dict[str, Any] = getattr(self._client, action)(QueueUrl=self.url, **parameters)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            said = error.response.get("Error", {}).get("Message", "") or str(error)
            if code.endswith(_USELESS):
                raise ShutOutError(f"{said} ({code})") from None
            raise TryAgainError(f"{said} ({code})") from None
        except BotoCoreError as error:
            if type(error).__name__ in {"NoCredentialsError", "PartialCredentialsError", "NoRegionError"}:
                raise ShutOutError(f"{error} (AWS_ACCESS_KEY_ID, AWS_PROFILE, --region)") from None
            raise TryAgainError(str(error)) from None
        return answer


def _client(region: str | None, endpoint_url: str | None) -> Any:
    try:
        import boto3  # type: ignore[import-untyped]  # noqa: PLC0415 - an extra, without types, and slow to load
        from botocore.config import Config  # type: ignore[import-untyped]  # noqa: PLC0415 - as above
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - as above
    except ImportError:
        raise ConfigError("SQS needs boto3: install `corral[aws]`.") from None
    config = Config(
        connect_timeout=_CONNECT_S,
        read_timeout=_POLL_S + _ANSWER_S,
        retries={"mode": "standard", "max_attempts": 3},
        max_pool_connections=16,
    )
    try:
        return boto3.client("sqs", region_name=region, endpoint_url=endpoint_url, config=config)
    except (BotoCoreError, ValueError) as error:
        raise ConfigError(f"SQS cannot be used: {error}") from None


def _region_of(host: str) -> str | None:
    """The region that stands in a queue's URL."""
    found = re.fullmatch(r"sqs\.([a-z0-9-]+)\.amazonaws\.com(\.cn)?", host)
    return found[1] if found else None


def _batches(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    for start in range(0, len(messages), _BATCH):
        yield messages[start : start + _BATCH]


class SqsDraft(msgspec.Struct, frozen=True, kw_only=True):
    """How a message becomes a job."""

    agent: str
    queue: str | None = None
    priority: int | None = None
    tags: tuple[str, ...] = ()

    def __call__(self, source: SqsQueue, message: Mapping[str, Any]) -> Message:
        """The body is the input: JSON, or else words for a prompt. Attributes say the rest."""
        said = {name: _value(value) for name, value in (message.get("MessageAttributes") or {}).items()}
        group = (message.get("Attributes") or {}).get("MessageGroupId", "")
        given = {
            "agent": self.agent,
            "input": _input(message.get("Body", "")),
            "queue": self.queue,
            "priority": _priority(said.pop("priority", None), self.priority),
            "session_id": said.pop("session_id", None),
            "tags": [f"sqs:{source.name}", *self.tags, *_tags(said)][:TAGS_MAX],
            # A message that comes again after its job was handed in is still the same job.
            "dedupe_s": source.retention_s,
            **_grouped(group, source),
        }
        return Message(
            id=message["MessageId"],
            receipt=message["ReceiptHandle"],
            request={name: value for name, value in given.items() if value is not None},
            order=group if source.is_fifo else "",
        )


def _grouped(group: str, source: SqsQueue) -> dict[str, Any]:
    """A FIFO group's jobs run one after the other; a standard queue's groups take turns."""
    if not group:
        return {}
    return {"concurrency_key" if source.is_fifo else "fairness_key": f"sqs:{source.name}:{group}"}


def _input(body: str) -> Any:
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        return {"prompt": body}


def _value(attribute: Mapping[str, Any]) -> str:
    return str(attribute.get("StringValue", ""))


def _priority(said: str | None, otherwise: int | None) -> int | None:
    try:
        return min(10, max(0, round(float(said)))) if said else otherwise
    except ValueError:
        return otherwise


def _tags(said: Mapping[str, str]) -> list[str]:
    """`tags`, separated by commas, and every other attribute as `name:value`; what can be no tag is left out."""
    listed = [tag.strip() for tag in said.get("tags", "").split(",")]
    listed += [f"{name}:{value}" for name, value in said.items() if name != "tags" and value]
    return [tag for tag in listed if 0 < len(tag) <= _TAG_CHARS_MAX and tag.isprintable()]
