"""Nothing personal comes into the memory where that is wished: documents, facts, logs, and what AgentCore's API brings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral import App
from corral.memory.drafting import log_draft, record_draft
from corral.memory.library import Document
from corral.memory.masking import masked_draft
from corral.memory.store import Namespace, Selection, View
from corral.observability.personal import masked, masked_text

ADMIN = View(tenant="default", whole=True)
NOTES = Namespace(name="notes", scope="tenant")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Write to ada.lovelace+x@example.co.uk today.", "Write to [email] today."),
        ("Her card is 4111 1111 1111 1111, not 4111 1111 1111 1112.", "Her card is [card], not 4111 1111 1111 1112."),
        ("4111-1111-1111-1111", "[card]"),
        ("Pay DE89 3704 0044 0532 0130 00 or GB82WEST12345698765432.", "Pay [iban] or [iban]."),
        ("DE88 3704 0044 0532 0130 00", "DE88 3704 0044 0532 0130 00"),
        ("SSN 536-90-4399, and 000-12-3456 is none", "SSN [ssn], and 000-12-3456 is none"),
        ("Call +49 (30) 1234-5678 or (555) 010-9999.", "Call [phone] or [phone]."),
        ("password: hunter22 and AKIAABCDEFGHIJKLMNOP", "password: [redacted] and [redacted]"),
        (
            "Order 2026-05-01-123456 of 12:30:45 costs 1234567.89",
            "Order 2026-05-01-123456 of 12:30:45 costs 1234567.89",
        ),
        ("0000 0000 0000 0000 and v1.2.3.4 and 10.0.0.1", "0000 0000 0000 0000 and v1.2.3.4 and 10.0.0.1"),
        ("me @home, a@b", "me @home, a@b"),
        ("x" * 100_000 + " ada@example.com", "x" * 100_000 + " [email]"),
    ],
)
def test_what_is_personal_in_a_text(text, kept):
    assert masked_text(text) == kept
    assert masked_text(kept) == kept


@given(st.text(st.sampled_from("0123456789 +-().@aB:/"), max_size=60))
def test_masking_twice_is_masking_once(text):
    once = masked_text(text)
    assert masked_text(once) == once


def test_json_is_masked_within():
    given = {"ada@example.com": ["ada@example.com", 1, None, {"deep": ("+49 30 123456789",)}]}
    assert masked(given) == {"ada@example.com": ["[email]", 1, None, {"deep": ["[phone]"]}]}


def test_what_has_nothing_personal_in_it_is_the_very_same():
    draft = record_draft("Ada likes tea.", id="a", namespace=NOTES, metadata={"n": 1})
    assert masked_draft(draft) is draft
    other = masked_draft(
        record_draft("Ada is ada@example.com.", id="a", namespace=NOTES, metadata={"by": "bob@example.com"})
    )
    assert other.chunks[0].text == "Ada is [email]."
    assert "example.com" not in str(other)
    assert other == masked_draft(other)


@pytest.fixture
def app():
    app = App()
    app.function(name="echo")(lambda event: event)
    return app


async def all_texts(service):
    view = ADMIN
    page = await service.stores.memory.items(view, Selection())
    chunks = [await service.stores.memory.chunks(view, item.id) for item in page.items]
    return str(page.items) + str(chunks)


async def test_whatever_is_kept_is_masked(build, app):
    service = await build(app, memory={"redaction": "masked"})
    memory, view = service.stores.memory, ADMIN
    await memory.put(view, [record_draft("ada@example.com likes tea", id="r", namespace=NOTES)])
    await memory.append(view, log_draft([("ada", "call +49 30 123456789")], id="l", namespace=NOTES))
    kept = await all_texts(service)
    assert "[email] likes tea" in kept
    assert "ada: call [phone]" in kept
    assert "example.com" not in kept


async def test_a_document_that_is_taken_in_again_is_masked_then(build, app):
    document = Document(data=b"# Team\n\nAda: ada@example.com\n\nBob", namespace=NOTES, source="team.md")
    plain = await build(app)
    await plain.remembering.shelves.library.ingest(ADMIN, document)
    assert "ada@example.com" in await all_texts(plain)
    other = App()
    other.function(name="echo")(lambda event: event)
    service = await build(other, memory={"redaction": "masked"})
    library = service.remembering.shelves.library
    assert (await library.ingest(ADMIN, document)).outcome == "changed"
    assert "example.com" not in await all_texts(service)
    assert (await library.ingest(ADMIN, document)).outcome == "same"
