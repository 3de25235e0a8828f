"""An audit with a past: entries, checkpoints, and a sweep."""

from __future__ import annotations

from corral.messages import AuditEntry
from corral.security.keeping import Keeper
from corral.security.signing import AuditKeys
from corral.settings.audit_sections import AuditChainSettings

NOON = 1_728_043_200.0
KEY = "ed25519:" + "07" * 32
OTHER_KEY = "ed25519:" + "08" * 32
KEEP_S = 1000.0


class Clock:
    """Stands still until it is set."""

    def __init__(self, at=NOON):
        self.at = at

    def now(self):
        return self.at

    monotonic = now


def entry(number=0, **more):
    fields = {
        "id": f"e-{number}",
        "at": NOON + number,
        "tenant": "acme",
        "action": "tool.call",
        "subject": "refund",
        "decision": "allowed",
        "rule": "small refunds",
        "actor": "ada",
        "details": {"input": {"amount": number * 1.5, "für": "世界"}},
    }
    return AuditEntry(**{**fields, **more})


def keeper_of(log, *, keys=None, anchor=None, clock=None, metrics=None, keep_s=KEEP_S, **settings):
    return Keeper(
        log,
        keys or AuditKeys(key=KEY),
        AuditChainSettings(**settings),
        keep_s=keep_s,
        anchor=anchor,
        metrics=metrics,
        clock=clock or Clock(),
        chance=lambda: 1.0,
    )


async def filled(log, *, keys=None, swept=5, marked=12, entries=30):
    """Entries, of which the first are swept, with a checkpoint in the middle and one at the end. Returns its keeper."""
    clock = Clock()
    keeper = keeper_of(log, keys=keys, clock=clock)
    await log.append([entry(number) for number in range(1, marked + 1)])
    await keeper.mark("acme")
    clock.at = NOON + swept + 0.5 + KEEP_S
    assert await keeper.expire() == swept
    await log.append([entry(number) for number in range(marked + 1, entries + 1)])
    await keeper.mark("acme")
    return keeper
