"""What `corral validate` finds in settings that a server would refuse to start with, and in models that lead nowhere."""

from __future__ import annotations

import pytest

AGENTS = """
from corral import App

app = App()

@app.entrypoint
def main(payload):
    return payload
"""
OPENAI = "providers: {openai: {api_key: k, models: [gpt-4.1]}}"


@pytest.fixture
def problems(here, corral):
    """The problems of settings, as `(source, key, message)`."""
    (here / "agents.py").write_text(AGENTS)

    def found(text):
        (here / "corral.yaml").write_text(text)
        listed = corral("validate", "--json").json["problems"]
        return [(problem["source"], problem["key"], problem["message"]) for problem in listed]

    return found


@pytest.mark.parametrize(
    ("text", "key", "said"),
    [
        ("models: {providers: {o: {api_key: k, base_url: nowhere}}}", "models.providers", "has to be an address"),
        (
            "models: {providers: {a: {kind: anthropic, api_key: k, base_url: nowhere}}}",
            "models.providers",
            "`models.providers.a.base_url` has to be an address",
        ),
        (
            "models: {providers: {b: {kind: bedrock, region: eu-west-1, api_key: k, base_url: 'http://here:port'}}}",
            "models.providers",
            "`models.providers.b.base_url` has to be an address",
        ),
        ("models: {names: {a: {fallback: [b]}, b: {fallback: [a]}}}", "models.names", "in a circle (a → b → a)"),
        ("models: {names: {smart: {deployments: {gpt: 1}}}}", "models.names", "write `provider/model`"),
        ("models: {names: {smart: {deployments: {opnai/gpt: 1}}}}", "models.names", "no provider 'opnai'"),
        (f"models: {{{OPENAI}, router: {{classes: {{easy: gpt-4.1}}}}}}", "models.router", "write `openai/gpt-4.1`"),
        ("models: {default: gpt-4.1}", "models.default", "Add `models.providers.openai`"),
        ("models: {router: {classes: {easy: smrt}}}", "models.router", "'smrt' leads nowhere"),
        ("models: {router: {classes: {easy: sim/small}, default: x}}", "models.router", "is no class"),
        ("models: {router: {classifier: 'model:x', classes: {easy: sim/small}}}", "models.router", "'x' leads nowhere"),
        ("models: {router: {classes: {easy: sim/small}, shares: {easy: {y/z: 1}}}}", "models.router", "'y/z' leads"),
        ("models: {default: nope}", "models.default", "'nope' leads nowhere"),
        ("models: {prices: nowhere.json}", "models.prices", "cannot be read"),
        ("cache: {semantic: {mode: shadow}}", "cache.semantic", "write `onnx:FOLDER`"),
        ("cache: {key_generator: 'no_such:thing'}", "cache.key_generator", "is not there"),
        ("agents: {summary_model: other/small}", "agents.summary_model", "no provider 'other'"),
        ("memory: {embedder: nope}", "memory.embedder", "'nope' leads nowhere"),
        ("memory: {embedder: 'onnx:/nowhere'}", "memory.embedder", "memory.embedder: there is no tokenizer.json"),
        ("memory: {learning: {model: nope}}", "memory.learning", "'nope' leads nowhere"),
        ("store: {hot: 'http://somewhere'}", "store.hot", "redis://"),
    ],
)
def test_what_cannot_work_is_found_where_it_is_written(problems, text, key, said):
    ((source, found, message),) = problems(text)
    assert (source, found) == ("corral.yaml:1", key)
    assert said in message


def test_what_names_no_setting_is_in_the_file(problems):
    ((source, key, message),) = problems("models: {providers: {sim: {kind: sim, options: {seeed: 7}}}}")
    assert (source, key) == ("corral.yaml", "")
    assert "seeed" in message


@pytest.mark.parametrize(
    "text",
    [
        "models: {default: sim/small}",
        f"models: {{{OPENAI}, default: gpt-4.1}}",
        f"models: {{{OPENAI}, names: {{smart: {{deployments: {{openai/gpt-4.1: 1}}, fallback: [sim/large]}}}}}}",
        f"models: {{{OPENAI}, router: {{classes: {{hard: openai/o3}}, classifier: 'model:openai/gpt-4.1'}}}}",
        f"models: {{{OPENAI}}}\nmemory: {{embedder: openai/text-embedding-3-small, learning: {{model: 'auto:hard'}}}}",
    ],
)
def test_models_that_lead_somewhere_are_no_problem(problems, text):
    assert problems(text) == []


def test_a_key_is_said_once(problems, corral):
    problems("models: {router: {classes: {easy: sim/small}, default: x}}")
    shown = corral("validate").out
    assert shown.count("models.router") == 1
