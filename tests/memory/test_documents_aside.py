"""A document that is put aside for a job, which then fails, is kept until the job cannot reasonably be run again."""

from __future__ import annotations

from corral import App
from corral.memory.library import Document
from corral.memory.store import Namespace, View
from corral.wiring.tidying import what_expires


class LaterClock:
    """So many seconds later than it is."""

    def __init__(self, clock, later):
        self._clock, self._later = clock, later

    def now(self):
        return self._clock.now() + self._later

    def monotonic(self):
        return self._clock.monotonic() + self._later


async def test_what_was_put_aside_goes_after_a_while(build):
    app = App()
    app.function(name="echo")(lambda event: event)
    service = await build(app, memory={"aside_keep_s": 600})
    document = Document(data=b"words " * 1000, namespace=Namespace(name="notes", scope="tenant"), source="a.txt")
    errand = await service.remembering.put_aside(View(tenant="default"), document)
    blobs, clock = service.stores.blobs, service.remembering.shelves.clock
    for later, left in ((500, True), (700, False)):
        sweep = what_expires(service.settings, service.stores, clock=LaterClock(clock, later))["aside"]
        assert await sweep() == (0 if left else 1)
        assert (await blobs.get("default", errand["blob"]) is not None) is left
