"""boto3's Step Functions client against a server of the test's own."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from corral.app import App
from sweeping import sweep

ROLE = "arn:aws:iam::000000000000:role/flows"
PREFIX = "arn:aws:states:us-east-1:000000000000"


def flow(*steps: dict[str, Any], **more: Any) -> str:
    """A definition of states that follow each other: `flow({"Type": "Pass"})`. They are named A, B, C, …"""
    states = {}
    for number, step in enumerate(steps):
        then = {"End": True} if number == len(steps) - 1 else {"Next": chr(66 + number)}
        states[chr(65 + number)] = step if step["Type"] in {"Fail", "Choice"} else {**step, **then}
    return json.dumps({"StartAt": "A", "States": states, **more})


PASS = flow({"Type": "Pass"})
WAITS = flow({"Type": "Wait", "Seconds": 99_999_999})


def flows() -> App:
    """An app with two functions: one that says it again, one that fails."""
    app = App()

    @app.function
    def echo(payload: Any) -> Any:
        return payload

    @app.function
    def broken(payload: Any) -> Any:
        raise ValueError(payload)

    return app


class StepFunctions:
    """A client for one tenant. Calls run in threads: `await sfn.start_execution(stateMachineArn=…)`."""

    def __init__(self, port: int, key: str = "") -> None:
        self.client: Any = boto3.client(
            "stepfunctions",
            endpoint_url=f"http://127.0.0.1:{port}",
            region_name="us-east-1",
            aws_access_key_id="x",
            aws_secret_access_key="y",
            config=Config(
                retries={"max_attempts": 0}, read_timeout=20, inject_host_prefix=False, parameter_validation=False
            ),
        )
        if key:
            self.client.meta.events.register(
                "before-send", lambda request, **_: request.headers.update({"X-Api-Key": key})
            )

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.client, name)

        async def call(**given: Any) -> dict[str, Any]:
            answer = await asyncio.to_thread(method, **given)
            answer.pop("ResponseMetadata")
            return answer

        return call

    async def refused(self, name: str, /, **given: Any) -> tuple[str, str]:
        """The name and the message of the error that a call ends in."""
        with pytest.raises(ClientError) as caught:
            await getattr(self, name)(**given)
        said = caught.value.response
        assert said["ResponseMetadata"]["HTTPStatusCode"] == 400
        return said["Error"]["Code"], said["Error"]["Message"]

    async def machine(self, name: str = "flow", definition: str = PASS, **more: Any) -> str:
        """The ARN of a new state machine."""
        made = await self.create_state_machine(name=name, definition=definition, roleArn=ROLE, **more)
        return made["stateMachineArn"]

    async def begun(self, machine: str, **more: Any) -> str:
        """The ARN of a new execution."""
        return (await self.start_execution(stateMachineArn=machine, **more))["executionArn"]

    def close(self) -> None:
        self.client.close()
        sweep()
