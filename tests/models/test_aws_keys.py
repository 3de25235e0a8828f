from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from model_scene import TurnedClock

from corral.errors import ConfigError, ModelAuthFailed
from corral.models import aws
from corral.models.aws import ChainKeys, FixedKeys, key_source, region_of
from corral.outbound.sigv4 import AwsKeys


class Lent:
    """Credentials as botocore lends them, which end."""

    def __init__(self) -> None:
        self.ends = False
        self.looked: list[int] = []
        self.failure: Exception | None = None

    def refresh_needed(self) -> bool:
        return self.ends

    def get_frozen_credentials(self) -> Any:
        if self.failure is not None:
            raise self.failure
        self.looked.append(threading.get_ident())
        return SimpleNamespace(access_key=f"A{len(self.looked)}", secret_key="s", token="t")


async def test_lent_keys_are_renewed_before_they_end_and_off_the_loop() -> None:
    lent, clock = Lent(), TurnedClock()
    chain = ChainKeys("there", lambda: lent, clock)
    assert set(await asyncio.gather(*(chain.keys() for _ in range(20)))) == {AwsKeys("A1", "s", "t")}
    assert threading.get_ident() not in lent.looked
    lent.ends = True
    assert (await chain.keys()).access_key == "A1"
    clock.at += 31
    assert {keys.access_key for keys in await asyncio.gather(*(chain.keys() for _ in range(20)))} == {"A2"}
    lent.failure, clock.at = RuntimeError("no answer"), clock.at + 31
    with pytest.raises(ModelAuthFailed, match=r"no answer.*AWS_ACCESS_KEY_ID"):
        await chain.keys()
    lent.failure = None
    assert (await chain.keys()).access_key == "A3"


async def test_keys_that_stay_are_looked_up_once() -> None:
    frozen = SimpleNamespace(access_key="A", secret_key="s", token=None)
    found = [SimpleNamespace(get_frozen_credentials=lambda: frozen)]
    chain = ChainKeys("there", found.pop, TurnedClock())
    assert [await chain.keys() for _ in range(2)] == [AwsKeys("A", "s")] * 2


async def test_no_keys_anywhere_says_what_to_set() -> None:
    with pytest.raises(ModelAuthFailed, match="AWS_BEARER_TOKEN_BEDROCK"):
        await ChainKeys("there", lambda: None, TurnedClock()).keys()


async def test_the_environment_goes_first() -> None:
    env = {"AWS_ACCESS_KEY_ID": "A", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t"}
    source = key_source("there", env, "", TurnedClock())
    assert isinstance(source, FixedKeys)
    assert await source.keys() == AwsKeys("A", "s", "t")
    assert isinstance(key_source("there", env, "other", TurnedClock()), ChainKeys)


def test_without_botocore_only_the_environment_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aws, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"corral\[aws\]"):
        key_source("there", {}, "", TurnedClock())
    with pytest.raises(ConfigError, match="AWS_REGION"):
        region_of("there", "", {}, "")
    assert region_of("there", "", {"AWS_DEFAULT_REGION": "r"}, "") == "r"


@pytest.fixture
def profiles(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config").write_text(
        "[profile there]\nregion = eu-north-1\naws_access_key_id = P\naws_secret_access_key = ps\n"
    )
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.mark.usefixtures("profiles")
async def test_the_real_chain_reads_profiles() -> None:
    assert await key_source("there", {}, "there", TurnedClock()).keys() == AwsKeys("P", "ps")
    assert await key_source("there", {"AWS_PROFILE": "there"}, "", TurnedClock()).keys() == AwsKeys("P", "ps")
    with pytest.raises(ModelAuthFailed, match="gone"):
        await key_source("there", {}, "gone", TurnedClock()).keys()


@pytest.mark.usefixtures("profiles")
def test_the_region_may_be_a_profiles() -> None:
    assert region_of("there", "", {}, "there") == "eu-north-1"
    with pytest.raises(ConfigError, match="gone"):
        region_of("there", "", {}, "gone")
    with pytest.raises(ConfigError, match=r"set `models\.providers\.there\.region`"):
        region_of("there", "", {}, "")
