"""A long definition is looked at beside whatever else happens."""

from __future__ import annotations

import json
import threading

import pytest
from definition_scene import LARGE, machine, one

from corral.workflows.language import looking
from corral.workflows.language.fault import DefinitionInvalid


@pytest.mark.parametrize(("states", "aside"), [(1, False), (1_000, True)])
async def test_only_a_long_text_is_worth_a_thread(monkeypatch, states, aside):
    seen: list[threading.Thread] = []
    known = looking.faults

    def watched(*args, **kwargs):
        seen.append(threading.current_thread())
        return known(*args, **kwargs)

    monkeypatch.setattr(looking, "faults", watched)
    row = {f"s{n}": {"Type": "Pass", "Next": f"s{n + 1}"} for n in range(states)}
    text = json.dumps(machine({**row, f"s{states}": {"Type": "Succeed"}}))
    assert await looking.faults_in(text) == []
    assert [thread is not threading.main_thread() for thread in seen] == [aside]


async def test_what_is_wrong_is_told_or_raised():
    assert await looking.faults_in(LARGE) == []
    await looking.check(json.dumps(LARGE))
    (fault,) = await looking.faults_in("{")
    assert fault.code == "INVALID_JSON_DESCRIPTION"
    with pytest.raises(DefinitionInvalid, match="does not support approvals"):
        await looking.check(json.dumps(one(Type="Task", Resource="corral:approval")), kind="EXPRESS")


async def test_expressions_of_one_definition_are_bounded_together():
    row = {f"s{n}": {"Type": "Pass", "Output": f"{{% {n} + {'1' * 15_000} %}}", "Next": f"s{n + 1}"} for n in range(20)}
    found = await looking.faults_in(json.dumps(machine({**row, "s20": {"Type": "Succeed"}}, QueryLanguage="JSONata")))
    assert found[-1].message == "All expressions of a definition have at most 262144 characters"
