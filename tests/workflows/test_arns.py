"""ARNs, from parts and back again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.workflows.arns import ArnInvalid, Arns, is_name, parse

ARNS = Arns(region="us-east-1", account="000000000000")
NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=80).filter(is_name)


@given(name=NAMES, other=NAMES)
def test_what_was_formed_is_taken_apart(name, other):
    machine = parse(ARNS.state_machine(name), "stateMachine")
    assert (machine.name, machine.qualifier, machine.version, machine.alias) == (name, "", None, "")
    assert machine.unqualified == machine.state_machine == machine.text
    aliased = parse(ARNS.state_machine(name, f"a{other}"), "stateMachine")
    assert (aliased.alias, aliased.version, aliased.unqualified) == (f"a{other}", None, machine.text)
    version = parse(ARNS.state_machine(name, 12), "stateMachine")
    assert (version.alias, version.version, version.unqualified) == ("", 12, machine.text)
    execution = parse(ARNS.execution(name, other), "execution", "express")
    assert (execution.name, execution.execution, execution.state_machine) == (name, other, machine.text)
    express = parse(ARNS.express(name, other, "n"), "express")
    assert (express.name, express.execution, express.nonce, express.state_machine) == (name, other, "n", machine.text)
    run = parse(ARNS.map_run(name, "Each", other), "mapRun")
    assert (run.name, run.qualifier, run.execution, run.state_machine) == (name, "Each", other, machine.text)
    assert parse(ARNS.activity(name), "activity").name == name


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nonsense", "Invalid ARN prefix: nonsense"),
        ("", "Invalid ARN prefix: "),
        ("arn:aws:lambda:us-east-1:0:function:f", "Invalid ARN prefix: "),
        ("arn:aws:states:us-east-1:0:activity:a", "Resource type not valid in this context: activity"),
        ("arn:aws:states:us-east-1:0:unknown:a", "Resource type not valid in this context: unknown"),
        ("arn:aws:states:us-east-1:0:stateMachine:a:b:c", "Invalid ARN: "),
        ("arn:aws:states:us-east-1:0:stateMachine:a:", "Invalid ARN: "),
    ],
)
def test_what_is_no_arn_says_why(text, says):
    with pytest.raises(ArnInvalid, match=says):
        parse(text, "stateMachine")


@pytest.mark.parametrize("wrong", ["", "a b", "a" * 81, *(f"a{c}" for c in '?*<>{}[]:;,\\|^~$#%&`"/\t\n\x7f\x9f')])
def test_what_may_not_be_a_name(wrong):
    assert not is_name(wrong)


def test_a_version_is_a_number_from_one():
    assert parse(ARNS.state_machine("m", "01"), "stateMachine").version is None
    assert parse(ARNS.state_machine("m", "0"), "stateMachine").alias == "0"
