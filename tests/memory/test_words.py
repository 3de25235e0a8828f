"""The words by which text is found."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.memory.words import WORD_CHARS_MAX, query_terms, terms_of


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("The cats sat on Ada's mats.", ("cat", "sat", "ada", "mat")),
        ("Stories, buses, glass, analysis and ties", ("story", "buse", "glass", "analysis", "tie")),
        ("Größe ÉCOLE naïve", ("große", "ecole", "naive")),
        ("v2.5 of GPT-4", ("v2", "5", "gpt", "4")),
        ("don\u2019t stop", ("don", "stop")),
        ("世界地図", ("世界", "界地", "地図")),
        ("東 x世界y", ("東", "x", "世界", "y")),
        ("snake_case", ("snake", "case")),
        ("", ()),
    ],
)
def test_words(text, terms):
    assert terms_of(text) == terms


def test_a_question_of_common_words_is_asked_as_it_is():
    assert query_terms("Who was it?") == ("who", "was", "it")
    assert query_terms("who likes tea, and who likes milk?") == ("like", "tea", "milk")
    assert query_terms("?!") == ()


@given(st.text())
def test_any_text_has_words_that_an_index_can_keep(text):
    for term in terms_of(text) + query_terms(text):
        assert 0 < len(term) <= WORD_CHARS_MAX
        assert not set(term) & set(" \t\n\"'()*|&:!_\0")
        assert term == term.lower()


@given(st.text(), st.text())
def test_words_of_texts_side_by_side_are_the_words_of_each(one, other):
    assert terms_of(f"{one}\n{other}") == terms_of(one) + terms_of(other)
