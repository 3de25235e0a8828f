"""What an operator decides about what is remembered: how documents are cut, how it is looked for, who may publish."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from corral.settings.learning_sections import LearningSettings
from corral.settings.section import Count, Seconds, Section

Share = Annotated[float, Meta(ge=0, le=1)]


class MemorySettings(Section, frozen=True):
    """Documents and facts that outlive a conversation, and how they are found."""

    chunk_tokens: Annotated[int, Meta(ge=20, le=8000)] = 300
    """About so many tokens are in one chunk of a document."""
    overlap_tokens: Annotated[int, Meta(ge=0, le=1000)] = 40
    """So many tokens of one chunk begin the next one, where a paragraph had to be cut."""
    document_max_bytes: Count = 20_000_000
    """The largest document that is taken in."""
    inline_max_bytes: Annotated[int, Meta(ge=0)] = 200_000
    """Documents up to this size are ready when the request is answered; larger ones, and PDF files, are a job."""
    aside_keep_s: Seconds = 604_800.0
    """How long a document that waits for a job, or whose job has failed, is kept: until then the job may be run again."""
    chunks_max: Count = 20_000
    """The most chunks of one document."""
    neighbours: Share = 0.25
    """What a chunk counts for the ones before and after it in the same document or conversation; 0: nothing."""
    results_max: Annotated[int, Meta(ge=1, le=1000)] = 100
    """The most results of one search."""
    embedder: str = ""
    """Find by meaning as well: `onnx:FOLDER`, `package:NAME` or `provider/model`. Empty: by words alone, which needs nothing."""
    meaning: Share = 0.4
    """How much meaning counts against words, where there is an embedder: 0: words alone, 1: meaning alone."""
    embed_batch: Annotated[int, Meta(ge=1, le=2048)] = 64
    """Texts in one question to the embedder."""
    teams: dict[str, list[str]] = {}
    """Who belongs to a team, by user ids: `{support: [ada, bob]}`. What is remembered for a team, its members see."""
    fetch_allow: list[str] = []
    """Private hosts and networks from which documents may be fetched all the same: names or `10.0.0.0/8`. Public ones always may."""
    fetch_timeout_s: Seconds = 60.0
    """How long fetching one document may take."""
    publishers: list[str] = []
    """Tenants that may write what every tenant reads (scope `public`); none named: the tenant `default`."""
    redaction: Literal["off", "masked"] = "off"
    """`masked`: e-mail addresses, numbers of telephones, cards and accounts, and credentials are masked before anything is kept."""
    learning: LearningSettings = LearningSettings()
    """What is learnt from conversations."""
