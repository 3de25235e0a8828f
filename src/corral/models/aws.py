"""Who signs calls to AWS: keys from the environment, or from the usual chain if botocore is installed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any, Protocol

from corral.clock import Clock
from corral.errors import ConfigError, ModelAuthFailed
from corral.outbound.sigv4 import AwsKeys

_HOW = (
    "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_BEARER_TOKEN_BEDROCK"
    " (or `api_key` of the provider) for a key of Bedrock's own"
)


_LOOK_AGAIN_S = 30.0
"""Keys are renewed minutes before they end; a chain that fails meanwhile is not asked with every call."""


class KeySource(Protocol):
    """Gives the keys to sign with."""

    async def keys(self) -> AwsKeys:
        """Keys that are good now. Raises `ModelAuthFailed` saying what to set."""
        ...


class FixedKeys:
    """Keys that do not change while the process lives."""

    def __init__(self, keys: AwsKeys) -> None:
        self._keys = keys

    async def keys(self) -> AwsKeys:
        """Always the same."""
        return self._keys


class ChainKeys:
    """Keys from the AWS chain: a profile, SSO, a role, a container, an instance. Renewed before they expire.

    The chain reads files and asks other machines, so it works in a thread; meanwhile everybody waits for one look-up.
    """

    def __init__(self, name: str, load: Callable[[], Any], clock: Clock) -> None:
        """`load` gives botocore's credentials, or none if there are none anywhere."""
        self._name = name
        self._load = load
        self._found: Any = None
        self._keys: AwsKeys | None = None
        self._looking = asyncio.Lock()
        self._clock = clock
        self._look_at = 0.0

    async def keys(self) -> AwsKeys:
        """The keys, looked up again if they are about to expire."""
        if self._keys is None or self._stale():
            async with self._looking:
                if self._keys is None or self._stale():
                    self._keys = await asyncio.to_thread(self._look_up)
                    self._look_at = self._clock.monotonic() + _LOOK_AGAIN_S
        return self._keys

    def _stale(self) -> bool:
        # Only keys that are lent know of an end. This compares two times; it asks nobody.
        ends = getattr(self._found, "refresh_needed", None)
        return ends is not None and self._clock.monotonic() >= self._look_at and bool(ends())

    def _look_up(self) -> AwsKeys:
        try:
            self._found = self._found or self._load()
            frozen = self._found.get_frozen_credentials() if self._found is not None else None
        except Exception as error:  # whatever a chain of files, processes and other machines comes up with
            raise ModelAuthFailed(
                f"{self._name} got no AWS credentials: {error}. {_HOW}, or mend the profile.", provider=self._name
            ) from error
        if frozen is None:
            raise ModelAuthFailed(
                f"{self._name} found no AWS credentials. {_HOW}, or sign in with `aws`.", provider=self._name
            )
        return AwsKeys(frozen.access_key, frozen.secret_key, frozen.token or "")


def key_source(name: str, env: Mapping[str, str], profile: str, clock: Clock) -> KeySource:
    """Where keys come from. Raises `ConfigError` if there can be none."""
    access, secret = env.get("AWS_ACCESS_KEY_ID"), env.get("AWS_SECRET_ACCESS_KEY")
    if access and secret and not profile:
        return FixedKeys(AwsKeys(access, secret, env.get("AWS_SESSION_TOKEN", "")))
    if find_spec("botocore") is None:
        raise ConfigError(
            f"models.providers.{name} has no AWS credentials. {_HOW}; profiles and roles need `pip install 'corral[aws]'`."
        )
    return ChainKeys(name, lambda: _session(profile or env.get("AWS_PROFILE", "")).get_credentials(), clock)


def region_of(name: str, said: str, env: Mapping[str, str], profile: str) -> str:
    """The region: as said, from the environment, or from the profile. Raises `ConfigError`."""
    region = said or env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION") or ""
    if not region and find_spec("botocore") is not None:
        try:
            region = _session(profile or env.get("AWS_PROFILE", "")).get_config_variable("region") or ""
        except Exception as error:  # a profile that is not there, or a file that cannot be read
            raise ConfigError(f"models.providers.{name} has no AWS region: {error}.") from error
    if not region:
        raise ConfigError(
            f"models.providers.{name} has no AWS region: set `models.providers.{name}.region`, or AWS_REGION."
        )
    return region


def _session(profile: str) -> Any:
    from botocore.session import Session  # type: ignore[import-untyped]  # noqa: PLC0415 - optional, and slow to load

    return Session(profile=profile or None)
