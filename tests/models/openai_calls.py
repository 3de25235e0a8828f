"""Any call, for Hypothesis; and what OpenAI's own client would accept."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from corral.messages import Message, ModelCall, OutputFormat, ToolSpec

words = st.text(max_size=8)
names = st.sampled_from(["look_up", "send", "f"])
values = st.recursive(st.none() | st.booleans() | st.integers(-9, 9) | words, lambda inner: st.lists(inner, max_size=2))
inputs = st.dictionaries(words, values, max_size=2)
texts = st.builds(lambda text, cache: {"type": "text", "text": text, "cache": cache}, words, st.booleans())
images = st.sampled_from(
    [
        {"type": "image", "url": "https://there/a.png"},
        {"type": "image", "data": "aGk=", "media_type": "image/jpeg", "detail": "low"},
    ]
)
files = st.sampled_from([{"type": "file", "data": "aGk=", "media_type": "application/pdf", "name": "a.pdf"}])
jsons = st.builds(lambda value: {"type": "json", "json": value}, values)
uses = st.builds(
    lambda number, name, given: {"type": "tool_use", "id": f"c{number}", "name": name, "input": given},
    st.integers(0, 3),
    names,
    inputs,
)
results = st.builds(
    lambda number, content: {"type": "tool_result", "tool_use_id": f"c{number}", "content": content},
    st.integers(0, 3),
    st.lists(texts | jsons | images, max_size=3),
)
thoughts = st.sampled_from(
    [
        {"type": "reasoning", "text": "Hm", "signature": "s"},
        {"type": "reasoning", "text": "", "data": "sealed elsewhere"},
        {"type": "reasoning", "text": "Hm", "field": "reasoning_content"},
        {"type": "reasoning", "text": "Hm", "data": "sealed", "id": "rs_1"},
    ]
)
messages = (
    st.builds(Message, role=st.just("system"), content=st.lists(texts | jsons, max_size=2))
    | st.builds(Message, role=st.sampled_from(["user", "tool", "other"]),
                content=st.lists(texts | images | files | jsons | results, max_size=3))
    | st.builds(Message, role=st.just("assistant"), content=st.lists(texts | uses | thoughts | jsons, max_size=3))
)  # fmt: skip
calls = st.builds(
    ModelCall,
    model=st.sampled_from(["gpt-4.1-mini", "gpt-5", "gpt-5.1", "o3", "llama"]),
    messages=st.lists(messages, min_size=1, max_size=4),
    tools=st.lists(
        st.builds(
            ToolSpec,
            name=names,
            description=words,
            parameters=st.sampled_from([{}, {"type": "object", "properties": {"x": {"type": "string"}}}]),
            strict=st.booleans(),
        ),
        max_size=2,
    ),
    tool_choice=st.sampled_from(["", "auto", "none", "required", "tool:f"]),
    parallel_tools=st.none() | st.booleans(),
    temperature=st.none() | st.floats(0, 2),
    top_p=st.none() | st.floats(0, 1),
    top_k=st.none() | st.integers(1, 99),
    max_tokens=st.none() | st.integers(1, 9999),
    stop=st.lists(words, max_size=2),
    seed=st.none() | st.integers(0, 9),
    frequency_penalty=st.none() | st.floats(-2, 2),
    presence_penalty=st.none() | st.floats(-2, 2),
    output=st.none() | st.builds(OutputFormat, schema=st.none() | st.just({"type": "object", "properties": {}})),
    reasoning=st.sampled_from(["", "none", "minimal", "low", "medium", "high", "9000", "0"]),
    stream=st.booleans(),
)


def consumed(value: Any) -> None:
    """The official types look at items of a list only when somebody takes them."""
    if isinstance(value, dict):
        value = value.values()
    elif isinstance(value, str | bytes | int | float | bool | None):
        return
    for item in value:
        consumed(item)


def asking(*said: Message, **more: Any) -> ModelCall:
    return ModelCall(model=more.pop("model", "gpt-4.1-mini"), messages=list(said), **more)


def by(role: Any, *parts: dict[str, Any] | str) -> Message:
    return Message(role=role, content=[text(part) if isinstance(part, str) else part for part in parts])


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}
