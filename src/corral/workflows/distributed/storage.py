"""Where a service's workflows find their objects: in S3, in its own buckets, and in a folder of files."""

from __future__ import annotations

from pathlib import Path

from corral.settings.workflow_sections import WorkflowSettings
from corral.workflows.distributed.buckets import Buckets
from corral.workflows.distributed.file_objects import FileObjects
from corral.workflows.distributed.objects import Objects, Shelves
from corral.workflows.distributed.s3_objects import S3Objects


class Storage:
    """As the settings say. Nothing is opened before an object is asked for."""

    def __init__(self, settings: WorkflowSettings, buckets: Buckets) -> None:
        """`buckets` are used where no endpoint of S3 is named, unless they are off."""
        self._buckets = buckets if settings.buckets and not settings.s3_endpoint else None
        self._files = FileObjects(Path(settings.files_folder)) if settings.files_folder else None
        self._s3 = S3Objects(
            endpoint=settings.s3_endpoint,
            region=settings.s3_region,
            access_key=settings.s3_access_key,
            secret_key=settings.s3_secret_key,
        )

    def of(self, tenant: str) -> Shelves:
        """The objects that a tenant's workflows may name."""
        shelves: dict[str, Objects] = {"s3": self._s3 if self._buckets is None else self._buckets.of(tenant)}
        if self._files is not None:
            shelves["files"] = self._files
        return Shelves(shelves)

    def close(self) -> None:
        """Let go of what was opened. Calling it again does nothing."""
        self._s3.close()
