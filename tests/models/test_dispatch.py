from __future__ import annotations

import pytest
from model_scene import Scripted, answer, collected, question

from corral.errors import ModelNotFound
from corral.messages import EmbedCall, EmbedReply
from corral.models.dispatch import dispatch, dispatch_embedding


class Fake:
    def __init__(self, name):
        self.name = name
        self.model = Scripted()

    def call(self, call):
        return self.model(call)

    async def embed(self, call):
        return EmbedReply(vectors=[[1.0]], model=call.model)


PROVIDERS = {name: Fake(name) for name in ("openai", "anthropic")}


async def test_the_provider_is_asked_by_its_own_name_for_the_model():
    events = await collected(dispatch(PROVIDERS)(question(model="openai/meta/llama-3")))
    assert events == [answer("from meta/llama-3")]
    reply = await dispatch_embedding(PROVIDERS)(EmbedCall(model="openai/embed", texts=["x"]))
    assert reply.model == "embed"


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("opnai/gpt", "no provider 'opnai'.*Did you mean 'openai'.*anthropic, openai"),
        ("bedrock/x", "no provider 'bedrock' here: it is not set up. Add `models.providers.bedrock`"),
        ("gpt", "write `provider/model`"),
        ("openai/", "Say which model"),
    ],
)
async def test_who_is_not_there_is_said_with_what_is(model, words):
    with pytest.raises(ModelNotFound, match=words):
        await collected(dispatch(PROVIDERS)(question(model=model)))
