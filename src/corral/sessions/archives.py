"""Which archive the settings name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from corral.errors import ConfigError
from corral.outbound.sigv4 import AwsKeys
from corral.sessions.archive_files import FileArchive
from corral.sessions.archive_s3 import GetKeys, S3Archive
from corral.sessions.store import Archive
from corral.settings.tier_sections import TierSettings


def archive_of(
    settings: TierSettings,
    store_url: str,
    *,
    usual_keys: GetKeys | None = None,
    env: Mapping[str, str] = os.environ,
) -> Archive | None:
    """The archive, not touched yet; none: events stay in the store. Raises `ConfigError` saying what is wrong.

    `usual_keys` looks AWS credentials up where none are in the settings; without it they are in the environment.
    """
    said = settings.archive
    if said == "auto":
        if not store_url.startswith("sqlite:"):
            return None
        return FileArchive(Path(store_url.partition("///")[2].partition("?")[0]).parent / "archive")
    if said == "none":
        return None
    if said.startswith("s3://"):
        region = settings.region or env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION") or "us-east-1"
        return S3Archive(said, _keys(settings, usual_keys, env), region=region, endpoint=settings.endpoint)
    if said.startswith("file://"):
        said = said.removeprefix("file://")
    if "://" in said or not said:
        raise ConfigError(
            f"sessions.tiers.archive: {settings.archive!r} is neither `auto`, `none`, a folder nor s3://bucket/prefix."
        )
    return FileArchive(Path(said))


def _keys(settings: TierSettings, usual_keys: GetKeys | None, env: Mapping[str, str]) -> GetKeys:
    access, secret, token = settings.access_key, settings.secret_key, ""
    if bool(access) != bool(secret):
        raise ConfigError("sessions.tiers needs `access_key` and `secret_key` together, or neither of them.")
    if not access and usual_keys is not None:
        return usual_keys
    if not access:
        access, secret = env.get("AWS_ACCESS_KEY_ID", ""), env.get("AWS_SECRET_ACCESS_KEY", "")
        token = env.get("AWS_SESSION_TOKEN", "")
    if not access or not secret:
        raise ConfigError(
            "sessions.tiers.archive is in S3 and there are no credentials: set `sessions.tiers.access_key` and `secret_key`, "
            "or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        )
    found = AwsKeys(access, secret, token)

    async def keys() -> AwsKeys:
        return found

    return keys
