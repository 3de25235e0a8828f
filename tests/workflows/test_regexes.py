"""Patterns of text that others wrote."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.workflows.language import regexes
from corral.workflows.language.regexes import Pattern, PatternInvalid, TooMuch, compiled


def counted(text: str, *, ignore_case: bool = False) -> Pattern:
    """As `compiled`, and never by the standard engine."""
    return Pattern(re.compile(text, re.IGNORECASE if ignore_case else 0), degree=-1, factor=1)


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        (r"a+b", "xaab", ("aab",)),
        (r"(a+?)(a*)", "aaa", ("aaa", "a", "aa")),
        (r"(?:ab|a)(c|bcd)(d*)", "abcd", ("abcd", "c", "d")),
        (r"(\w+)\s(\w+)", "John Smith", ("John Smith", "John", "Smith")),
        (r"^b", "ab", None),
        (r"b$", "ab", ("b",)),
        (r"\bcat\b", "concat cat", ("cat",)),
        (r"\Bcat", "concat", ("cat",)),
        (r"[^\d\s]{2,3}", "1a bcde", ("bcd",)),
        (r"(a)|(b)", "b", ("b", None, "b")),
        (r"(\w)\1", "abccd", ("cc", "c")),
        (r"q(?=u)", "iq qu", ("q",)),
        (r"q(?!u)", "qu iq", ("q",)),
        (r"(?<=\$)\d+", "5 $42", ("42",)),
        (r"(?<!\$)\b\d+", "$42 5", ("5",)),
        (r"(?P<year>\d{4})-(?P<month>\d\d)", "on 2024-05", ("2024-05", "2024", "05")),
        (r".", "\n", None),
        (r"\D\S\W", "a 1", None),
        (r"\D\S\W", "aa ", ("aa ",)),
        (r"x{0}y", "xy", ("y",)),
        (r"(a*)*", "aab", ("aa", "aa")),
        (r"^hello\ ", "hello world", ("hello ",)),
    ],
)
def test_both_ways_match_alike(pattern, text, expected):
    for made in (counted(pattern), compiled(pattern)):
        match = made.search(text)
        if expected is None:
            assert match is None
        else:
            assert match is not None
            assert match.group() == expected[0]
    if expected is not None and len(expected) > 1 and pattern != "(a*)*":
        assert counted(pattern).search(text).groups() == expected[1:]


def test_case_and_lines():
    for make in (counted, compiled):
        assert make("[a-c]x", ignore_case=True).search("zBX").group() == "BX"
        assert make("[^a]", ignore_case=True).search("A") is None
        assert make("É", ignore_case=True).search("é") is not None
    assert [match.start() for match in compiled("^.$|^.(?=.*$)+", multiline=True).finditer("ab\nc")] == [0, 3]
    assert compiled("(?<n>a)").search("xa").groups() == ("a",)


def test_replacing_and_splitting():
    for make in (counted, compiled):
        pattern = make(r"[aeiou]+")
        assert pattern.sub(lambda match: f"<{match.group()}>", "queue up") == "q<ueue> <u>p"
        assert pattern.sub(lambda _match: "", "queue up", 1) == "q up"
        assert pattern.split("queue up") == ["q", " ", "p"]
        assert pattern.split("queue up", 1) == ["q", " up"]
        assert pattern.fullmatch("ai") is not None
        assert pattern.fullmatch("ail") is None


@pytest.mark.parametrize("text", ["(", "*", "[a", "a{2,1}", "(?i:a)(b|c)*d", "(?>a)b*c", "x" * 2_001, "(a)(?(1)b|c)"])
def test_what_is_no_pattern_is_refused(text):
    with pytest.raises(PatternInvalid):
        compiled(text)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"(a+)+$", "a" * 5_000 + "b"),
        (r"(a|a)*b", "a" * 100_000),
        (r"a*a*a*a*b", "a" * 200_000),
        (r"(?:a?){30}a{30}x", "a" * 30),
        (r"(.*)\1\1x", "ab" * 50_000),
        (r"(x+x+)+y", "x" * 1_000),
        (r"\s+$", " " * 200_000 + "x"),
        (r"(?=(a+)+b)c", "a" * 5_000),
    ],
)
def test_no_pattern_takes_long(pattern, text):
    began = time.process_time()
    with pytest.raises(TooMuch):
        compiled(pattern).search(text)
    assert time.process_time() - began < 1


def test_plain_patterns_go_over_long_texts():
    text = "word " * 40_000
    assert len(list(compiled(r"\w+").finditer(text))) == 40_000
    assert compiled(r"[a-z]+@[a-z]+").search("a" * 200 + "@b") is not None
    assert compiled("(foo|bar)+baz").search("x" * 50_000 + "foobarbaz").start() == 50_000


pieces = st.sampled_from(["a", "b", "c", ".", r"\w", "[ab]", "[^a]", r"\d", "(a|bc)", "(?:ab)", "(b)"])
quantified = st.tuples(pieces, st.sampled_from(["", "", "?", "+", "{1,2}", "??", "+?"])).map("".join)
patterns = st.lists(quantified, min_size=1, max_size=4).map("".join)


@given(
    st.one_of(patterns, st.tuples(patterns, patterns).map("|".join)), st.text("abcB1 \n", max_size=10), st.booleans()
)
def test_the_counted_way_is_the_standard_way(pattern, text, ignore_case):
    flags = re.IGNORECASE if ignore_case else 0
    expected = [(match.span(), match.groups()) for match in re.finditer(pattern, text, flags)]
    if any(begin == end for (begin, end), _groups in expected):
        return  # after a match of nothing, languages go on differently
    matches = list(counted(pattern, ignore_case=ignore_case).finditer(text))
    assert [((match.start(), match.end()), match.groups()) for match in matches] == expected
    assert [match.group() for match in compiled(pattern, ignore_case=ignore_case).finditer(text)] == [
        match.group() for match in matches
    ]


def test_steps_are_shared_by_all_matches_of_a_text():
    with pytest.raises(TooMuch):
        list(counted("(a|b)+c?").finditer(("ab" * 50 + " ") * 10_000))
    assert regexes.STEPS_MAX <= 500_000
