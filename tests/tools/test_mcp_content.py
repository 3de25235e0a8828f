"""What MCP servers say, in our words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.settings.policy_sections import McpSettings
from corral.tools.failing import ToolFailed
from corral.tools.mcp.content import output_of_answer, tools_of
from corral.tools.naming import tool_name


@pytest.mark.parametrize(
    ("said", "part"),
    [
        ({"type": "text", "text": "a"}, {"type": "text", "text": "a"}),
        ({"type": "image", "data": "aa"}, {"type": "image", "data": "aa", "media_type": "image/png"}),
        (
            {"type": "audio", "data": "aa", "mimeType": "audio/mpeg"},
            {"type": "file", "data": "aa", "media_type": "audio/mpeg", "name": "audio"},
        ),
        (
            {"type": "resource", "resource": {"uri": "file:///a", "text": "words"}},
            {"type": "text", "text": "words"},
        ),
        (
            {"type": "resource", "resource": {"uri": "file:///a", "blob": "aa", "mimeType": "application/pdf"}},
            {"type": "file", "data": "aa", "media_type": "application/pdf", "name": "file:///a"},
        ),
        ({"type": "resource_link", "uri": "file:///a", "name": "A"}, {"type": "text", "text": "A: file:///a"}),
        ({"type": "hologram"}, {"type": "text", "text": "[hologram: not understood]"}),
        ({"type": "image"}, {"type": "text", "text": "[image: not understood]"}),
    ],
)
def test_each_kind_of_content_has_a_part(said, part):
    assert output_of_answer({"content": [said]}).content == [part]


def test_a_structured_result_is_the_value():
    both = output_of_answer({"content": [{"type": "text", "text": "3"}], "structuredContent": {"result": 3}})
    assert (both.content[0]["text"], both.value) == ("3", {"result": 3})
    assert output_of_answer({"content": [{"type": "text", "text": "3"}]}).value == "3"
    assert output_of_answer({}).value is None


def test_an_error_is_one():
    with pytest.raises(ToolFailed, match="flooded"):
        output_of_answer({"isError": True, "content": [{"type": "text", "text": "flooded"}]})
    with pytest.raises(ToolFailed, match="did not say why"):
        output_of_answer({"isError": True})


SHORT = st.text(max_size=5)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | SHORT,
    lambda inside: st.lists(inside, max_size=2) | st.dictionaries(SHORT, inside, max_size=2),
    max_leaves=4,
)


@given(
    st.dictionaries(
        st.sampled_from(["content", "isError", "structuredContent"]), JSON | st.just([{"type": "resource"}])
    )
)
def test_whatever_a_server_says_is_a_result_or_a_fault(answer):
    try:
        output = output_of_answer(answer)
    except ToolFailed:
        return
    assert all(isinstance(part["type"], str) for part in output.content)


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["name", "description", "inputSchema", "annotations", "title"]), JSON, max_size=3
        ),
        max_size=3,
    )
)
def test_whatever_tools_a_server_lists_they_can_be_told(listed):
    async def call(_name, _arguments, _call):
        return {}

    for name, tool in tools_of("odd one", McpSettings(trust_hints=True), listed, call).items():
        assert tool.name == name
        assert isinstance(tool.spec.parameters, dict)


@given(st.text(max_size=200), st.text(max_size=200))
def test_names_are_taken_by_every_model_and_stay_different(one, other):
    for name in (tool_name(one), tool_name(other)):
        assert 0 < len(name) <= 64
        assert name.isascii()
        assert name.replace("_", "").replace("-", "").isalnum() or set(name) <= {"_", "-"}
    assert one == other or tool_name(one) != tool_name(other)
