"""Which providers have batches of their own."""

from __future__ import annotations

from corral.errors import ModelNotFound, ModelRequestInvalid
from corral.models.connected import connected
from corral.models.lost import unknown_provider
from corral.models.provider import Provider
from corral.models.provider_batches import BatchApi


def batches_at(provider: Provider | str) -> BatchApi:
    """The batches of a provider's account, by its name in the settings. Raises `ModelRequestInvalid` for one that has none."""
    if isinstance(provider, str):
        provider = _named(provider)
    from corral.models.anthropic import AnthropicProvider  # noqa: PLC0415 - only who has batches loads them
    from corral.models.openai import OpenAIProvider  # noqa: PLC0415 - as above

    # The same account and connections, asked in another way.
    if isinstance(provider, OpenAIProvider):
        from corral.models.openai_batches import OpenAIBatches  # noqa: PLC0415 - as above

        return OpenAIBatches(provider.name, provider._at, provider.transport)  # noqa: SLF001 - see above
    if isinstance(provider, AnthropicProvider):
        from corral.models.anthropic_batches import AnthropicBatches  # noqa: PLC0415 - as above

        return AnthropicBatches(
            provider.name,
            root=provider._root,  # noqa: SLF001 - see above
            headers=provider._headers,  # noqa: SLF001 - see above
            options=provider._options,  # noqa: SLF001 - see above
            transport=provider.transport,
        )
    from corral.models.bedrock import BedrockProvider  # noqa: PLC0415 - as above

    if isinstance(provider, BedrockProvider):
        raise ModelRequestInvalid(
            f"{provider.name} has no batches here: Bedrock reads them from a bucket of S3, with a role of your own. Call "
            "CreateModelInvocationJob yourself (`boto3.client('bedrock').create_model_invocation_job`), hand the batch to OpenAI "
            "or Anthropic, or ask now, at full price: `llm.batch([…])`.",
            provider=provider.name,
        )
    raise ModelRequestInvalid(
        f"{provider.name} has no batches here: OpenAI and Anthropic do. `llm.batch([…])` asks any model, at full price.",
        provider=provider.name,
    )


def _named(name: str) -> Provider:
    known = connected().providers
    if name not in known:
        raise ModelNotFound(unknown_provider(name, known))
    return known[name]
