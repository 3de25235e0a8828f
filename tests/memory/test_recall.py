"""How much of what is asked for is found, without any embedder: questions about long conversations, with their evidence."""

from __future__ import annotations

import asyncio
import functools
import json
import re
from pathlib import Path

import pytest

from corral.memory.drafting import log_draft
from corral.memory.store import ItemDraft, Namespace, View

DATA = Path(__file__).parents[3] / "shared" / "data" / "memory"
EVIDENCE = re.compile(r"D\d+:\d+")


@functools.cache
def loaded():
    """Of each conversation its turns (id, date, speaker, text) and the questions that have evidence (question, ids)."""
    return [conversation(json.loads(path.read_text(encoding="utf-8"))) for path in sorted(DATA.glob("*.json"))]


def conversation(content):
    turns = [
        (turn["dia_id"], content.get(f"session_{n}_date_time", ""), turn["speaker"], said(turn))
        for n in range(1, 60)
        for turn in content.get(f"session_{n}") or []
    ]
    known = {turn[0] for turn in turns}
    questions = []
    for one in content["qa"]:
        evidence = {found for text in one.get("evidence") or [] for found in EVIDENCE.findall(str(text))} & known
        if one.get("category") in {1, 2, 3, 4} and evidence:
            questions.append((one["question"], evidence))
    return turns, questions


def said(turn):
    text = turn.get("clean_text") or turn.get("text") or ""
    return f"{text} [shares {turn['blip_caption']}]" if turn.get("blip_caption") else text


@pytest.fixture
async def memory(either_url, make_memory):
    return await make_memory(either_url)


@pytest.mark.timeout(180)
@pytest.mark.skipif(
    not DATA.exists(), reason="the conversations are not here: they are for evaluation only, no part of this"
)
async def test_evidence_is_among_the_first(memory):
    shares = {10: [], 20: []}
    for number, (turns, questions) in enumerate(await asyncio.to_thread(loaded)):
        view, home = View(tenant=f"t-{number}"), Namespace(name="talk")
        chunks = [
            chunk
            for _, date, speaker, text in turns
            for chunk in log_draft([(speaker, text)], id="log", namespace=home, place=date).chunks
        ]
        await memory.store.put(view, [ItemDraft(id="log", kind="log", namespace=home, chunks=tuple(chunks))])
        room = asyncio.Semaphore(8)

        async def asked(question, view=view, room=room):
            async with room:
                return await memory.searcher.search(view, question, k=20)

        found = await asyncio.gather(*(asked(question) for question, _ in questions))
        for results, (_, evidence) in zip(found, questions, strict=True):
            ids = [turns[one.citation.ordinal][0] for one in results]
            for k, share in shares.items():
                share.append(len(evidence & set(ids[:k])) / len(evidence))
    recall = {k: sum(share) / len(share) for k, share in shares.items()}
    assert recall[10] >= 0.57
    assert recall[20] >= 0.64
