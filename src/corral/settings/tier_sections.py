"""What an operator decides about where conversations lie: at hand, in the store, or in the archive."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from corral.settings.section import Count, Seconds, Section


class TierSettings(Section, frozen=True):
    """Where events of sessions lie, and for how long: hot (in memory), warm (in the store), cold (in the archive)."""

    hot_s: Seconds = 3600.0
    """Newest events of a session stay in memory so long after they were last read or written."""
    hot_max_bytes: Annotated[int, Meta(ge=0)] = 67_108_864
    """Memory of one worker for that; 0: none, every read asks the store."""
    hot_events: Count = 100
    """So many of a session's newest events."""
    warm_s: Seconds = 86_400.0
    """A session nobody wrote to or went back in for so long goes to the archive."""
    warm_events_max: Annotated[int, Meta(ge=2)] = 10_000
    """Of a session with more events in the store, the older half goes to the archive."""
    depth: Count | None = None
    """How many events back a session is brought back from the archive when somebody reads on and on; none: to its beginning."""
    archive: str = "auto"
    """Where cold events lie: `auto` (the folder `archive` beside a SQLite store, none with PostgreSQL), `none`, a folder, or `s3://bucket/prefix`."""
    endpoint: str = ""
    """Address of an S3-compatible server; none: AWS."""
    region: str = ""
    """AWS region of the bucket; none: `AWS_REGION`, else `us-east-1`."""
    access_key: str = ""
    """Who writes to the bucket: `${VAR}`; none: AWS credentials as usual."""
    secret_key: str = ""
    """The key's secret: `${VAR}`."""
