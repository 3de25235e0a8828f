"""How documents are read and cut."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.errors import ConfigError, ValidationFailed
from corral.memory.chunking import about, chunks_of
from corral.memory.reading import Block, media_type_of, read

MARKDOWN = """---
title: "The house"
---

Before any heading.

# Ground
First paragraph
on two lines.

Under
-----
```python
# no heading

x = 1
```

## Deep ##
- one
- two

Above
=====
Last.
"""

PAGE = """<!doctype html><html><head><title> A  page </title><style>p { color: red }</style></head>
<body><nav>Menu</nav><h1>One</h1><p>Some <b>bold</b> text &amp; more.<br>Next line.</p>
<script>alert(1)</script><h2>Two <i>deep</i></h2><ul><li>first</li><li>second</li></ul>
<pre>a
  b</pre><table><tr><td>x</td><td>y</td></tr></table><p></p></body></html>"""


def blocks_of(text, kind="text/plain"):
    return [(block.place, block.text) for block in read(text.encode(), kind).blocks]


def test_markdown_is_read_by_its_headings():
    assert blocks_of(MARKDOWN, "text/markdown; charset=utf-8") == [
        ("", "Before any heading."),
        ("Ground", "First paragraph\non two lines."),
        ("Ground > Under", "```python\n# no heading\n\nx = 1\n```"),
        ("Ground > Deep", "- one\n- two"),
        ("Above", "Last."),
    ]
    reading = read(MARKDOWN.encode(), "text/markdown")
    assert reading.title == "The house"
    for block in reading.blocks:
        assert MARKDOWN[block.start :].startswith(block.text[:5])


def test_html_is_read_as_people_see_it():
    assert blocks_of(PAGE, "text/html") == [
        ("", "Menu"),
        ("One", "Some bold text & more.\nNext line."),
        ("One > Two deep", "- first\n- second"),
        ("One > Two deep", "a\n  b"),
        ("One > Two deep", "x\ny"),
    ]
    assert read(PAGE.encode(), "text/html").title == "A page"


def test_plain_text_is_read_by_paragraphs():
    assert blocks_of("One\ntwo\r\n\r\n  \nThree\0") == [("", "One\ntwo"), ("", "Three\ufffd")]
    assert blocks_of("Tür") == [("", "Tür")]
    assert [block.text for block in read("café €".encode("cp1252"), "text/plain").blocks] == ["café €"]
    assert [block.text for block in read("hé".encode("utf-16"), "text/plain").blocks] == ["hé"]


def pdf_of(*pages):
    """A small PDF, written by hand: one line of text on each page."""
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b""]
    kids = []
    for text in pages:
        stream = f"BT /F1 12 Tf 20 100 Td ({text}) Tj ET".encode() if text else b""
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream))
        content = len(objects)
        font = b"<< /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >>"
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 200] /Contents %d 0 R /Resources %s >>" % (content, font)
        )
        kids.append(len(objects))
    objects[1] = b"<< /Type /Pages /Count %d /Kids [%s] >>" % (len(kids), b" ".join(b"%d 0 R" % kid for kid in kids))
    out = io.BytesIO(b"")
    out.write(b"%PDF-1.4\n")
    places = []
    for number, body in enumerate(objects, 1):
        places.append(out.tell())
        out.write(b"%d 0 obj\n%s\nendobj\n" % (number, body))
    start = out.tell()
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    out.write(b"".join(b"%010d 00000 n \n" % place for place in places))
    out.write(b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, start))
    return out.getvalue()


def test_pdf_files_are_read_page_by_page():
    reading = read(pdf_of("Hello there.", "The second page."), "application/pdf")
    assert [(block.place, block.text) for block in reading.blocks] == [
        ("page 1", "Hello there."),
        ("page 2", "The second page."),
    ]


@pytest.mark.parametrize(("data", "said"), [(b"no pdf", "cannot be read"), (pdf_of(""), "no text")])
def test_a_pdf_without_text_says_so(data, said):
    with pytest.raises(ValidationFailed, match=said):
        read(data, "application/pdf")


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pypdf", None)
    with pytest.raises(ConfigError, match="documents"):
        read(pdf_of("x"), "application/pdf")


def test_other_types_are_refused():
    with pytest.raises(ValidationFailed, match="text/markdown"):
        read(b"x", "image/png")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.MD", "text/markdown"),
        ("x/y.html", "text/html"),
        ("b.pdf", "application/pdf"),
        ("Makefile", "text/plain"),
        ("", "text/plain"),
    ],
)
def test_names_tell_types(name, kind):
    assert media_type_of(name) == kind


# -- cutting ------------------------------------------------------------------------------------------------------------

blocks = st.lists(
    st.builds(
        Block,
        text=st.text(st.sampled_from("ab. \nc!é世"), min_size=1, max_size=300).filter(lambda text: text.strip()),
        place=st.sampled_from(["", "One", "One > Two"]),
        start=st.integers(0, 1000),
    ),
    max_size=12,
)


@given(blocks, st.integers(5, 80), st.integers(0, 40))
def test_chunks_are_bounded_complete_and_the_same_again(given_blocks, tokens, overlap):
    chunks = chunks_of(given_blocks, tokens=tokens, overlap=overlap)
    assert chunks == chunks_of(given_blocks, tokens=tokens, overlap=overlap)
    assert len({chunk.id for chunk in chunks}) == len(chunks)
    for chunk in chunks:
        assert about(chunk.text) <= tokens + len(given_blocks)  # two newlines between paragraphs that were joined
    whole = "".join("".join(block.text.split()) for block in given_blocks)
    for sign in set(whole):
        assert sum(chunk.text.count(sign) for chunk in chunks) >= whole.count(sign)
    assert {chunk.place for chunk in chunks} == {block.place for block in given_blocks}


def test_paragraphs_stay_together_while_they_fit():
    given_blocks = [Block("One. " * 10, "A"), Block("Two. " * 10, "A"), Block("Three.", "B")]
    assert len(chunks_of(given_blocks, tokens=100)) == 2
    assert len(chunks_of(given_blocks, tokens=20)) == 3


def test_where_a_paragraph_is_cut_sentences_overlap():
    text = " ".join(f"Sentence number {n} is here." for n in range(20))
    first, second, *_ = chunks_of([Block(text)], tokens=40, overlap=10)
    assert second.text.startswith(first.text.rpartition("Sentence")[1])
    assert first.text.endswith("here.")
    assert text[second.start :].startswith(second.text)
    assert first.text.split(". ")[-1] == second.text.split(". ")[0] + "."


def test_a_change_in_one_place_changes_no_other_chunk():
    def made(middle):
        return {chunk.id for chunk in chunks_of([Block("Start.", "A"), Block(middle, "B"), Block("End.", "C")])}

    assert len(made("One.") & made("Two.")) == 2


def test_the_title_and_headings_are_looked_for_too():
    (chunk,) = chunks_of([Block("Press it.", "Reset > Button")], title="Router")
    assert set(chunk.terms) == {"reset", "button", "router", "press"}
    assert chunk.text == "Press it."
