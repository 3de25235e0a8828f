"""boto3 against a server of the test's own: both planes on one port."""

from __future__ import annotations

import asyncio
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from sweeping import sweep

ROLE = "arn:aws:iam::123456789012:role/agents"
CODE = {
    "codeConfiguration": {
        "code": {"s3": {"bucket": "agents-of-acme", "prefix": "agents.zip"}},
        "runtime": "PYTHON_3_11",
        "entryPoint": ["agents.py"],
    }
}
SETUP = {"agentRuntimeArtifact": CODE, "roleArn": ROLE, "networkConfiguration": {"networkMode": "PUBLIC"}}


class Aws:
    """Clients of one server, for one tenant. Calls run in threads: `await aws.create_memory(name=…)`."""

    def __init__(self, port: int, key: str = "") -> None:
        self._clients = [
            self._client(service, port, key) for service in ("bedrock-agentcore", "bedrock-agentcore-control")
        ]

    @staticmethod
    def _client(service: str, port: int, key: str) -> Any:
        client = boto3.client(
            service,
            endpoint_url=f"http://127.0.0.1:{port}",
            region_name="us-east-1",
            aws_access_key_id="x",
            aws_secret_access_key="y",
            config=Config(retries={"max_attempts": 1}, read_timeout=20),
        )
        if key:
            client.meta.events.register("before-send", lambda request, **_: request.headers.update({"X-Api-Key": key}))
        return client

    def __getattr__(self, name: str) -> Any:
        client = next((one for one in self._clients if hasattr(one, name)), None)
        if client is None:
            raise AttributeError(name)
        method = getattr(client, name)

        async def call(**given: Any) -> dict[str, Any]:
            answer = await asyncio.to_thread(method, **given)
            answer.pop("ResponseMetadata")
            return answer

        return call

    async def refused(self, name: str, /, **given: Any) -> tuple[str, int, str]:
        """The name, the status and the message of the error that a call ends in."""
        try:
            await getattr(self, name)(**given)
        except ClientError as error:
            said = error.response
            return said["Error"]["Code"], said["ResponseMetadata"]["HTTPStatusCode"], said["Error"]["Message"]
        raise AssertionError(f"{name} was not refused")

    async def memory(self, name: str = "notes", **more: Any) -> str:
        """The id of a new memory."""
        return (await self.create_memory(name=name, eventExpiryDuration=30, **more))["memory"]["id"]

    async def say(self, memory: str, *texts: str, actor: str = "ada", session: str = "s-1", **more: Any) -> list[dict]:
        """Events with one text each."""
        events = []
        for text in texts:
            payload = [{"conversational": {"content": {"text": text}, "role": "USER"}}]
            given = {"eventTimestamp": 1_700_000_000, "payload": payload, **more}
            made = await self.create_event(memoryId=memory, actorId=actor, sessionId=session, **given)
            events.append(made["event"])
        return events

    def close(self) -> None:
        for client in self._clients:
            client.close()
        sweep()


def said(events: list[dict]) -> list[str]:
    """The texts of events."""
    return [part["conversational"]["content"]["text"] for event in events for part in event["payload"]]
