"""GPTCache with SQLite and faiss: inserts for so many seconds at most, then hits; vectors were made before."""

import json
import random
import sys
import time

import numpy as np
from gptcache import Cache
from gptcache.adapter.api import get, put
from gptcache.manager import CacheBase, VectorBase, get_data_manager
from gptcache.processor.pre import get_prompt
from gptcache.similarity_evaluation.distance import SearchDistanceEvaluation

WIDTH, ENTRIES, LOOKUPS = 384, 10_000, 500

rows = np.random.default_rng(1).normal(size=(ENTRIES, WIDTH)).astype(np.float32)
rows /= np.linalg.norm(rows, axis=1, keepdims=True)
vectors = {f"question {number}": rows[number] for number in range(ENTRIES)}

cache = Cache()
cache.init(
    pre_embedding_func=get_prompt,
    embedding_func=lambda text, **_: vectors[text],
    data_manager=get_data_manager(CacheBase("sqlite"), VectorBase("faiss", dimension=WIDTH), max_size=2 * ENTRIES),
    similarity_evaluation=SearchDistanceEvaluation(),
)

limit = float(sys.argv[1])
begun, entries = time.perf_counter(), 0
for text in vectors:
    put(text, f"answer to {text}", cache_obj=cache)
    entries += 1
    if time.perf_counter() - begun > limit:
        break
inserts = entries / (time.perf_counter() - begun)
times, right = [], 0
for text in random.Random(2).sample(list(vectors)[:entries], min(LOOKUPS, entries)):
    begun = time.perf_counter()
    found = get(text, cache_obj=cache)
    times.append(time.perf_counter() - begun)
    right += found == f"answer to {text}"
print(
    json.dumps(
        {"inserts": inserts, "hits": len(times) / sum(times), "times": times, "right": right, "entries": entries}
    )
)
