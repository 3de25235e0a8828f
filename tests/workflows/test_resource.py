"""What a Task's `Resource` names."""

from __future__ import annotations

import pytest

from corral.workflows.language.resource import resource_of


@pytest.mark.parametrize(
    ("text", "service", "action", "name", "pattern", "is_integration"),
    [
        ("arn:aws:lambda:us-east-1:000000000000:function:add", "lambda", "", "add", "", False),
        ("arn:aws:lambda:us-east-1:000000000000:function:add:$LATEST", "lambda", "", "add", "", False),
        ("arn:aws:states:::lambda:invoke", "lambda", "invoke", "", "", True),
        ("arn:aws:states:::lambda:invoke.waitForTaskToken", "lambda", "invoke", "", "waitForTaskToken", True),
        ("arn:aws:states:us-east-1:000000000000:activity:paint", "activity", "", "paint", "", False),
        ("arn:aws:states:::states:startExecution.sync:2", "states", "startExecution", "", "sync:2", True),
        ("corral:agent:support", "agent", "", "support", "", True),
        ("corral:tool:search.waitForTaskToken", "tool", "", "search", "waitForTaskToken", True),
        ("corral:approval", "approval", "", "", "", True),
        ("corral:http", "http", "", "", "", True),
    ],
)
def test_a_resource_is_taken_apart(text, service, action, name, pattern, is_integration):
    found = resource_of(text)
    assert found is not None
    assert (found.text, found.service, found.action, found.name, found.pattern) == (
        text,
        service,
        action,
        name,
        pattern,
    )
    assert found.is_integration is is_integration


@pytest.mark.parametrize(
    "text",
    [
        "",
        "support",
        "corral:agent:",
        "corral:robot:x",
        "arn:aws:states:::lambda:invoke.sync",
        "arn:aws:states:::states:invoke",
        "arn:aws:states:::dynamodb:putItem",
    ],
)
def test_what_nobody_does_is_no_resource(text):
    assert resource_of(text) is None
