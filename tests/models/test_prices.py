from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.errors import ConfigError
from corral.messages import Usage
from corral.models.prices import (
    Price,
    PriceFile,
    PriceTable,
    hosts_of,
    price_table,
    read_prices,
    shipped,
    write_prices,
)
from corral.settings.model_sections import ProviderSettings

TABLE = PriceTable([shipped()])
MILLION = Usage(input=1_000_000)
KINDS = ("input", "cache_read", "cache_write", "output", "reasoning")

counts = st.integers(0, 3_000_000)
usages = st.builds(Usage, **dict.fromkeys(KINDS, counts))
prices = st.sampled_from(shipped().models)


def dollars(model, table=TABLE):
    """What a million tokens read cost."""
    return table.cost_of(model, MILLION)


# -- arithmetic ---------------------------------------------------------------------------------------------------------


@given(prices, usages)
def test_the_kinds_add_up(price, usage):
    rates = price.rates_for(usage)
    alone = sum(rates.cost(Usage(**{kind: getattr(usage, kind)})) for kind in KINDS)
    assert rates.cost(usage) == pytest.approx(alone)


@given(prices, usages, st.sampled_from(KINDS), counts)
def test_more_tokens_never_cost_less(price, usage, kind, more):
    larger = msgspec.structs.replace(usage, **{kind: getattr(usage, kind) + more})
    assert price.rates_for(larger).cost(larger) >= price.rates_for(usage).cost(usage)


@given(prices, usages)
def test_what_the_provider_kept_never_costs_more_than_reading_it(price, usage):
    unkept = msgspec.structs.replace(usage, input=usage.input + usage.cache_read, cache_read=0)
    assert price.rates_for(usage).cost(usage) <= price.rates_for(unkept).cost(unkept) + 1e-9


@given(prices, usages)
def test_a_batch_is_never_dearer(price, usage):
    table = PriceTable([PriceFile(version="1", models=(price,))])
    model = f"{price.host}/{price.id}"
    assert table.cost_of(model, usage, batch=True) <= table.cost_of(model, usage)


def test_a_bill_by_hand():
    usage = Usage(input=1_000, cache_read=10_000, cache_write=2_000, output=500, reasoning=1_500)
    assert TABLE.cost_of("anthropic/claude-sonnet-4-20250514", usage) == pytest.approx(
        (1_000 * 3 + 10_000 * 0.3 + 2_000 * 3.75 + 2_000 * 15) / 1e6
    )
    assert TABLE.cost_of("openai/gpt-4.1-mini", usage) == pytest.approx(
        (3_000 * 0.4 + 10_000 * 0.1 + 2_000 * 1.6) / 1e6
    )
    assert TABLE.cost_of("openai/gpt-4.1-mini", usage, batch=True) == pytest.approx(0.00270)


def test_long_calls_cost_more_as_a_whole():
    at, over = Usage(input=200_000, output=1_000), Usage(input=100_000, cache_read=100_001, output=1_000)
    assert TABLE.cost_of("google/gemini-2.5-pro", at) == pytest.approx((200_000 * 1.25 + 1_000 * 10) / 1e6)
    assert TABLE.cost_of("google/gemini-2.5-pro", over) == pytest.approx(
        (100_000 * 2.5 + 100_001 * 0.25 + 1_000 * 15) / 1e6
    )


def test_reasoning_may_have_a_price_of_its_own():
    price = Price(id="m", input=1, output=2, reasoning=3)
    assert price.cost(Usage(output=1_000_000, reasoning=1_000_000)) == 5


# -- names --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "price"),
    [
        ("openai/gpt-4o-mini", 0.15),
        ("openai/GPT-4o-mini", 0.15),
        ("openai/gpt-4o-mini-2024-07-18", 0.15),
        ("openai/gpt-4o-2024-05-13", 5),
        ("azure/gpt-4o", 2.5),
        ("anthropic/claude-haiku-4-5", 1),
        ("anthropic/claude-haiku-4-5-20251001", 1),
        ("anthropic/claude-3-5-sonnet-latest", 3),
        ("bedrock/anthropic.claude-haiku-4-5-20251001-v1:0", 1.1),
        ("bedrock/us.anthropic.claude-haiku-4-5-20251001-v1:0", 1.1),
        ("bedrock/global.anthropic.claude-haiku-4-5-20251001-v1:0", 1),
        ("bedrock/eu.amazon.nova-lite-v1:0", 0.06),
        ("bedrock/us.meta.llama3-3-70b-instruct-v1:0", 0.72),
        ("bedrock/amazon.titan-embed-text-v2:0", 0.02),
        ("bedrock/arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.amazon.nova-pro-v1:0", 0.8),
        ("gemini/gemini-2.5-flash", 0.3),
        ("groq/llama-3.3-70b-versatile", 0.59),
        ("groq/openai/gpt-oss-120b", 0.15),
        ("openrouter/anthropic/claude-sonnet-4.5", 3),
        ("openrouter/openai/gpt-4.1-mini", 0.4),
        ("openrouter/meta-llama/llama-3.3-70b-instruct", 0.59),
    ],
)
def test_a_model_is_found_by_what_people_call_it(model, price):
    assert dollars(model) == pytest.approx(price if "sonnet-4.5" not in model else 6)


@pytest.mark.parametrize(
    "model",
    [
        "",
        "/",
        "openai/",
        "gpt-4o",
        "openai/gpt-4o-mini-of-ours",
        "openai/ft:gpt-4o-mini:acme::x",
        "openrouter/meta-llama/llama-3.3-70b-instruct:free",
        "ollama/mistral-nemo",
        "local/meta-llama/llama-3.3-70b-instruct",
        "bedrock/arn:aws:bedrock:eu-west-1:123456789012:provisioned-model/abc",
        "x" * 10_000,
    ],
)
def test_what_is_not_in_the_table_has_no_price(model):
    assert dollars(model) is None
    assert TABLE.cost_of(model, Usage()) is None


def test_a_known_model_that_did_nothing_cost_nothing():
    assert TABLE.cost_of("openai/gpt-4o", Usage()) == 0


def test_where_a_provider_is_decides_what_its_models_cost():
    hosts = hosts_of(
        {
            "main": ProviderSettings(),
            "fast": ProviderSettings(base_url="https://api.groq.com/openai/v1"),
            "Router": ProviderSettings(base_url="https://openrouter.ai/api/v1"),
            "vertex-eu": ProviderSettings(base_url="https://europe-west4-aiplatform.googleapis.com/v1"),
            "openai": ProviderSettings(base_url="http://gpu-1:8000/v1"),
            "claude": ProviderSettings(
                kind="bedrock", base_url="https://vpce-1.bedrock-runtime.eu-west-1.vpce.amazonaws.com"
            ),
            "az": ProviderSettings(kind="azure", base_url="https://acme.openai.azure.com"),
        }
    )
    table = PriceTable([shipped()], hosts=hosts)
    assert dollars("main/gpt-4o", table) == 2.5
    assert dollars("fast/llama-3.3-70b-versatile", table) == 0.59
    assert dollars("router/openai/gpt-4o", table) == 2.5
    assert dollars("vertex-eu/gemini-2.5-pro", table) == 2.5  # a long call
    assert dollars("claude/amazon.nova-pro-v1:0", table) == 0.8
    assert dollars("az/gpt-4o", table) == 2.5
    assert dollars("openai/gpt-4o", table) is None  # a server of one's own that is only called so


# -- the file -----------------------------------------------------------------------------------------------------------


def test_the_table_is_large_dated_and_says_where_from():
    table = shipped()
    assert len(table.models) >= 120
    assert table.version == "2026-11-21"
    assert {price.host for price in table.models} == set(table.sources)
    assert all(url.startswith("https://") for url in table.sources.values())
    assert {"openai", "anthropic", "aws", "google", "mistral", "groq", "together", "openrouter"} <= set(table.sources)


def test_no_name_stands_for_two_prices():
    names = [(price.host, name.lower()) for price in shipped().models for name in (price.id, *price.names)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("price", shipped().models, ids=lambda price: f"{price.host}/{price.id}")
def test_a_price_is_plausible(price):
    assert 0 < price.input <= 200
    assert price.output == 0 or price.input <= price.output <= 1_000
    steps = [price, *price.above]
    for below, step in zip(steps, price.above, strict=False):
        assert below.tokens < step.tokens
        assert step.input >= below.input
        assert step.output >= below.output
    assert all(rates.cache_read is None or rates.cache_read <= rates.input for rates in steps)
    assert price.context_tokens is None or price.output_tokens is None or price.output_tokens <= price.context_tokens


def test_ones_own_prices_stand_over_the_table(tmp_path):
    file = tmp_path / "prices.yaml"
    file.write_text(
        "version: ours-1\nmodels:\n"
        "  - {id: local/llama, input: 0.1, output: 0.2}\n"
        "  - {id: gpt-4o, host: openai, input: 2.0, output: 8.0}\n"
    )
    table = price_table(str(file))
    assert dollars("local/llama", table) == 0.1
    assert dollars("other/llama", table) is None
    assert dollars("openai/gpt-4o", table) == 2
    assert dollars("openai/gpt-4o-mini", table) == 0.15
    assert table.version == "ours-1+2026-11-21"
    shown = list(table)
    assert len(shown) == len(shipped().models) + 1
    assert [price.input for price in shown if (price.host, price.id) == ("openai", "gpt-4o")] == [2]


def test_a_table_is_kept_and_read_again(tmp_path):
    write_prices(tmp_path / "prices.json", shipped())
    assert read_prices(tmp_path / "prices.json") == shipped()
    assert [path.name for path in tmp_path.iterdir()] == ["prices.json"]


@pytest.mark.parametrize(
    "text",
    ["", "{", "version: 1", "version: a\nmodels: [{id: x}]", '{"version": "1", "models": [{"id": "x", "input": -1, "output": 1}]}',
     '{"version": "1", "models": [{"id": "x", "inptu": 1, "output": 1}]}'],
)  # fmt: skip
def test_a_file_that_is_none_says_what_one_looks_like(tmp_path, text):
    (tmp_path / "p").write_text(text)
    with pytest.raises(ConfigError, match="looks like this"):
        price_table(str(tmp_path / "p"))


def test_a_file_that_is_not_there_names_the_setting(tmp_path):
    with pytest.raises(ConfigError, match=r"models\.prices"):
        price_table(str(tmp_path / "none.json"))
