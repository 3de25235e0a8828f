"""Frameworks that know nothing of us, with our gateway as their OpenAI."""

from __future__ import annotations

from typing import Any

import pytest

from corral.app import App

pytestmark = [
    pytest.mark.frameworks,
    # The frameworks' own clients leave their connections to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

MODEL = "sim/small"
INSTALLED = "`make test-frameworks` installs it"


@pytest.fixture
async def base_url(serve) -> str:
    """A gateway that answers with the simulator."""
    app = App()
    app.entrypoint(lambda payload: payload)
    server = await serve(app)
    return f"{server.url}/v1"


def weather(city: str) -> str:
    """The weather in a city."""
    return f"It rains in {city}."


# -- LangChain ---------------------------------------------------------------------------------------------------------


def langchain_model(base_url: str) -> Any:
    openai = pytest.importorskip("langchain_openai", reason=INSTALLED)
    return openai.ChatOpenAI(model=MODEL, base_url=base_url, api_key="none")


async def test_langchain_answers_and_streams(base_url):
    model = langchain_model(base_url)
    whole = await model.ainvoke("What is a corral?")
    assert whole.content
    assert whole.usage_metadata["output_tokens"] > 0
    pieces = [piece.content async for piece in model.astream("What is a corral?")]
    assert "".join(pieces) == whole.content
    assert len(pieces) > 2


async def test_langchain_calls_tools_and_fits_a_schema(base_url):
    from pydantic import BaseModel

    class City(BaseModel):
        """A city."""

        name: str
        people: int

    model = langchain_model(base_url)
    asked = await model.bind_tools([weather], tool_choice="weather").ainvoke("What is the weather in Oslo?")
    assert asked.tool_calls[0]["name"] == "weather"
    city = await model.with_structured_output(City, method="json_schema").ainvoke(
        "Which city is the capital of Norway?"
    )
    assert isinstance(city, City)


# -- pydantic-ai -------------------------------------------------------------------------------------------------------


def pydantic_agent(base_url: str, **more: Any) -> Any:
    ai = pytest.importorskip("pydantic_ai", reason=INSTALLED)
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    return ai.Agent(OpenAIChatModel(MODEL, provider=OpenAIProvider(base_url=base_url, api_key="none")), **more)


async def test_pydantic_ai_answers_streams_and_types(base_url):
    answer = await pydantic_agent(base_url).run("What is a corral?")
    assert answer.output
    async with pydantic_agent(base_url).run_stream("What is a corral?") as streamed:
        assert await streamed.get_output() == answer.output
    typed = await pydantic_agent(base_url, output_type=bool).run("Is a corral for cattle?")
    assert typed.output in {True, False}


async def test_pydantic_ai_runs_its_tools(base_url):
    agent = pydantic_agent(base_url)
    called = []

    @agent.tool_plain
    def weather(city: str) -> str:
        """The weather in a city."""
        called.append(city)
        return f"It rains in {city}."

    answer = await agent.run("Use the weather tool: what is the weather in Oslo?")
    assert answer.output
    assert len(called) == 1


# -- Strands -----------------------------------------------------------------------------------------------------------


def strands_agent(base_url: str, **more: Any) -> Any:
    strands = pytest.importorskip("strands", reason=INSTALLED)
    from strands.models.openai import OpenAIModel

    model = OpenAIModel(client_args={"base_url": base_url, "api_key": "none"}, model_id=MODEL)
    return strands.Agent(model=model, callback_handler=None, **more)


async def test_strands_answers_and_runs_its_tools(base_url):
    strands = pytest.importorskip("strands", reason=INSTALLED)
    called = []

    @strands.tool
    def weather(city: str) -> str:
        """The weather in a city."""
        called.append(city)
        return f"It rains in {city}."

    result = await strands_agent(base_url).invoke_async("What is a corral?")
    assert str(result).strip()
    result = await strands_agent(base_url, tools=[weather]).invoke_async("Use the weather tool: the weather in Oslo?")
    assert str(result).strip()
    assert len(called) == 1
