"""What the guard lets pass and what it does not."""

from __future__ import annotations

import csv
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from semantic_scene import PAIRS

from corral.cache.semantic import guard


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("How do I return shoes?", "What is the way to return shoes?"),
        ("What's the capital of Norway?", "What is the capital of Norway?"),
        ("Can you tell me how to cancel my order?", "How do I cancel my order?"),
        ("Which phones are the best?", "What is the best phone?"),
        ("Is it dangerous to swim here?", "Is it unsafe to swim here?"),
        ("How do I translate German into Korean?", "Translation from German to Korean: how?"),
        ("What did we spend in 2023?", "How much did we spend in 2023?"),
        ("What is twelve percent of 90?", "What is 12 percent of 90?"),
    ],
)
def test_other_words_for_the_same_pass_both_ways(one, other):
    assert guard.objection(one, other) == ""
    assert guard.objection(other, one) == ""


@pytest.mark.parametrize(
    ("why", "one", "other"),
    [
        ("numbers", "What is 5 percent of 90?", "What is 15 percent of 90?"),
        ("numbers", "What did we sell on Monday?", "What did we sell on Tuesday?"),
        ("numbers", "Does version 9.1 run here?", "Does version 9.10 run here?"),
        ("numbers", "Which is the first street?", "Which is the third street?"),
        ("names", "What is the capital of Norway?", "What is the capital of Sweden?"),
        ("names", "How do I reach support at ACME?", "How do I reach support?"),
        ("negation", "Which servers are running?", "Which servers are not running?"),
        ("negation", "Why can I log in?", "Why can't I log in?"),
        ("opposites", "What is the highest price?", "What is the lowest price?"),
        ("opposites", "Is it safe to swim here?", "Is it unsafe to swim here?"),
        ("opposites", "How do I lend money to a friend?", "How do I borrow money from a friend?"),
        ("opposites", "How do I enable the alarm?", "How do I disable the alarm?"),
        ("order", "How do I translate German to Korean?", "How do I translate Korean to German?"),
        ("order", "What would Anna have told Berta?", "What would Berta have told Anna?"),
        ("order", "Can a dog bite a postman?", "Can a postman bite a dog?"),
        ("kind", "Why does the shop close?", "When does the shop close?"),
        ("kind", "Is there a warranty?", "Who pays the warranty?"),
        ("owner", "What is the meaning of my name?", "What is the meaning of your name?"),
        ("word", "How do I clean leather?", "How do I clean suede?"),
        ("narrower", "How do I clean leather?", "How do I clean leather gloves?"),
        ("nothing in common", "How does it work?", "Where is the shop door?"),
        ("language", "Wie gebe ich die Schuhe zurück?", "Wie kann ich die Schuhe zurückgeben?"),
        ("language", "返品するには", "返品の方法は"),
        ("language", "Prices", "Costs"),
    ],
)
def test_what_only_looks_alike_does_not_pass(why, one, other):
    assert guard.objection(one, other) == why
    assert guard.objection(other, one) != ""


def test_the_same_text_passes_if_it_is_english():
    assert guard.objection("How do I pay?", "How do I pay?") == ""
    assert guard.objection("Wie bezahle ich?", "Wie bezahle ich?") == "language"


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_text_can_be_read_and_the_verdict_is_the_same_both_ways(one, other):
    assert bool(guard.objection(one, other)) == bool(guard.objection(other, one))


@given(
    st.lists(
        st.sampled_from(
            [
                "how",
                "do",
                "I",
                "the",
                "not",
                "2",
                "two",
                "Rome",
                "to",
                "from",
                "my",
                "why",
                "is",
                "shoes",
                "highest",
                "lowest",
            ]
        ),
        max_size=8,
    )
)
def test_a_text_never_objects_to_itself_but_for_its_language(words):
    text = " ".join(words)
    assert guard.objection(text, text) in {"", "language"}


def test_reading_is_quick():
    guard.read.cache_clear()
    begun = time.process_time()
    for number in range(500):
        guard.objection(f"How do I return {number} blue shoes to the shop in Rome?", "How do I send the shoes back?")
    assert (time.process_time() - begun) / 500 < 0.002


@pytest.mark.skipif(not PAIRS.is_file(), reason="the labelled pairs are not here")
def test_on_labelled_pairs_it_stops_traps_and_lets_paraphrases_pass():
    with PAIRS.open() as file:
        rows = list(csv.DictReader(file))
    passed = {
        label: [
            not guard.objection(row["text_a"], row["text_b"])
            for row in rows
            if row["label"] == label and row["source"] == "own"
        ]
        for label in "01"
    }
    assert sum(passed["0"]) / len(passed["0"]) < 0.10  # whatever their likeness is
    assert sum(passed["1"]) / len(passed["1"]) > 0.50
