"""What tests of the memory share."""

from __future__ import annotations

import array

from corral.backends.open import open_stores
from corral.memory.library import Library
from corral.memory.remembered import Shelves
from corral.memory.searching import Searcher
from corral.settings.memory_sections import MemorySettings


class Letters:
    """An embedder for tests: how often each of a few words stands in a text."""

    model = "letters"

    def __init__(self, *words):
        self.words = words
        self.asked = []
        self.fails = None

    async def embed(self, texts, *, tenant):
        if self.fails is not None:
            raise self.fails
        self.asked.append((tenant, list(texts)))
        return [self.vector(text) for text in texts]

    def vector(self, text):
        counts = [float(text.lower().count(word)) for word in self.words] + [0.1]
        length = sum(count * count for count in counts) ** 0.5
        return array.array("f", [count / length for count in counts]).tobytes()


class Scene:
    """A store with a library and a searcher."""

    def __init__(self, url, embedder=None, fetch=None, **settings):
        self.settings = MemorySettings(**settings)
        self.stores = open_stores(url)
        self.store = self.stores.memory
        self.library = Library(self.store, self.settings, embedder, fetch=fetch)
        self.searcher = Searcher(self.store, self.settings, embedder)
        self.shelves = Shelves(self.library, self.searcher)

    async def texts(self, view, query, **more):
        return [one.text for one in await self.searcher.search(view, query, **more)]
