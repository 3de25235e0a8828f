"""What an operator decides about the audit as evidence: who signs it, how often, and where that is kept beside the store."""

from __future__ import annotations

from corral.settings.section import Count, Seconds, Section


class AuditChainSettings(Section, frozen=True):
    """Each entry of the audit holds the one before it; checkpoints are signed, so that nobody rewrites all of it."""

    key: str = ""
    """Signs checkpoints: `${AUDIT_KEY}`, as `corral audit key --new` makes one; empty: the last of `key_file`."""
    key_file: str = ""
    """Keys, one a line, the last of which signs; made when it is missing. Empty: `audit.key` beside the store's file, else in `.corral`."""
    trusted: list[str] = []
    """More keys that are believed: public ones of other machines, and older ones."""
    checkpoint_entries: Count = 1000
    """Sign after so many entries of a tenant."""
    checkpoint_s: Seconds = 300.0
    """Sign after so long, if there was any entry."""
    anchor: str = ""
    """Where each checkpoint goes as well: a file that is appended to, or an address (`https://…`) that gets it as JSON."""
    anchor_allow: list[str] = []
    """Networks (`10.0.0.0/8`) and hosts that the address may be at although they are private."""
    verify_every_s: Seconds = 3600.0
    """How often the newest part is checked."""
    verify_entries: Count = 20_000
    """Entries that such a check looks at, at most."""
