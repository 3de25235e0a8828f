"""Objects of S3, or of anything that speaks as it does. The client blocks, so it works in threads of its own, a few at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from corral.workflows.distributed.faults import ObjectFailed
from corral.workflows.distributed.objects import ObjectInfo

T = TypeVar("T")

PIECE = 256 * 1024
_THREADS = 4


class S3Objects:
    """Any endpoint; credentials as boto3 finds them, unless both are given."""

    def __init__(
        self, *, endpoint: str = "", region: str = "us-east-1", access_key: str = "", secret_key: str = ""
    ) -> None:
        """Nothing is imported or connected before the first object is asked for."""
        self._endpoint = endpoint
        self._region = region
        self._keys = (access_key, secret_key)
        self._client: Any = None
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="corral-s3")

    async def read(self, bucket: str, key: str, *, version: str = "", owner: str = "") -> AsyncIterator[bytes]:
        """The object, in pieces."""
        more = {name: value for name, value in (("VersionId", version), ("ExpectedBucketOwner", owner)) if value}
        answer = await self._do(lambda client: client.get_object(Bucket=bucket, Key=key, **more))
        body = answer["Body"]
        try:
            while piece := await self._do(lambda _: body.read(PIECE)):
                yield piece
        finally:
            body.close()

    async def list(self, bucket: str, prefix: str, *, start_after: str = "") -> AsyncIterator[ObjectInfo]:
        """All objects whose keys begin so."""
        more = {"StartAfter": start_after} if start_after else {}
        while True:
            page = await self._do(partial(_listed, {"Bucket": bucket, "Prefix": prefix, **more}))
            for one in page.get("Contents", ()):
                yield ObjectInfo(
                    key=one["Key"],
                    size=one["Size"],
                    etag=one.get("ETag", "").strip('"'),
                    modified_at=one["LastModified"].timestamp(),
                    storage_class=one.get("StorageClass", "STANDARD"),
                )
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    async def write(self, bucket: str, key: str, body: bytes, *, content_type: str) -> None:
        """Write an object."""
        await self._do(lambda client: client.put_object(Bucket=bucket, Key=key, Body=body, ContentType=content_type))

    def close(self) -> None:
        """Let the threads go. Calling it again does nothing."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _do(self, ask: Callable[[Any], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._asked, ask)

    def _asked(self, ask: Callable[[Any], T]) -> T:
        try:
            import boto3  # type: ignore[import-untyped]  # noqa: PLC0415 - the extra `aws`, without types
            from botocore.config import Config  # type: ignore[import-untyped]  # noqa: PLC0415 - as above
            from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]  # noqa: PLC0415 - as above
        except ImportError:
            raise ObjectFailed('Objects of S3 need the extra "aws": pip install "corral[aws]".') from None
        try:
            if self._client is None:
                access_key, secret_key = self._keys
                self._client = boto3.client(
                    "s3",
                    region_name=self._region,
                    endpoint_url=self._endpoint or None,
                    aws_access_key_id=access_key or None,
                    aws_secret_access_key=secret_key or None,
                    config=Config(
                        connect_timeout=5,
                        read_timeout=60,
                        retries={"max_attempts": 3, "mode": "standard"},
                        s3={"addressing_style": "path"} if self._endpoint else None,
                        request_checksum_calculation="when_required",
                        response_checksum_validation="when_required",
                    ),
                )
            return ask(self._client)
        except ClientError as error:
            said = error.response.get("Error", {})
            raise ObjectFailed(
                f"{said.get('Message', '')} (Service: S3, Error Code: {said.get('Code', '')})"
            ) from error
        except (BotoCoreError, OSError) as error:
            raise ObjectFailed(f"S3 could not be asked: {error}") from error


def _listed(asked: dict[str, Any], client: Any) -> Any:
    return client.list_objects_v2(**asked)
