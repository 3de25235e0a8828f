"""`corral memory` against a real server."""

from __future__ import annotations

import json

import pytest
from command_line import json_answer

GUIDE = "# Guide\n\nRestart the router first.\n\n## Phones\n\nPhones take a minute to start.\n"


@pytest.fixture
def memory(corral, shared_server):
    def run(*arguments):
        return corral("memory", *arguments, "--url", shared_server.url)

    return run


def test_from_a_folder_to_an_answer(memory, here):
    (here / "docs").mkdir()
    (here / "docs" / "guide.md").write_text(GUIDE)
    (here / "docs" / "picture.png").write_bytes(b"\x89PNG")
    done = memory("ingest", "docs", "--user", "ada", "--meta", "year:=2024", "--meta", "kind=guide")
    assert done.status == 0, done.err
    assert "new, 2 chunks (2 new)" in done.out
    assert "same" in memory("ingest", "docs", "-u", "ada", "--meta", "year:=2024", "--meta", "kind=guide").out
    found = memory("search", "how long do phones take", "-u", "ada")
    assert "Phones take a minute to start." in found.out
    assert "Guide > Phones" in found.out
    assert memory("search", "phones", "-u", "ada", "--where", "year:=2023", "--json").json == {"items": []}
    assert len(memory("search", "phones", "-u", "ada", "--where", "kind=guide", "--json").json["items"]) == 1
    assert "Nothing was found" in memory("search", "phones", "-u", "bob").err
    listed = memory("list", "-u", "ada")
    assert "docs/guide.md" not in listed.out
    assert "Guide" in listed.out
    assert "user:ada" in listed.out


def test_a_job_is_waited_for(memory, here):
    (here / "long.txt").write_text("\n\n".join(f"Paragraph {n} of topic{n} is long enough. " * 20 for n in range(400)))
    done = memory("ingest", "long.txt", "--json", "-u", "eve")
    assert done.status == 0, done.err
    assert done.json["items"][0]["outcome"] == "new"
    assert "topic321" in memory("search", "topic321", "-u", "eve").out


def test_facts_come_and_go(memory):
    item = memory("remember", "Likes tea.", "-u", "fay", "-n", "facts").out.strip()
    assert item.startswith("mem-")
    lines = memory("export", "-u", "fay", "-n", "facts").out.splitlines()
    assert len(memory("export", "-u", "fay", "-n", "facts", "--json").json["items"]) == len(lines)
    assert [json.loads(line)["text"] for line in lines] == ["Likes tea."]
    assert memory("forget", item, "-u", "fay").status == 2
    assert memory("forget", item, "-u", "fay", "--yes").out == "Forgot 1 item.\n"
    assert memory("remember", "Likes milk.", "-u", "fay").status == 0
    assert memory("forget", "--of", "user:fay", "--yes", "--json").json == {"deleted_items": 1}
    assert "Nothing is remembered yet" in memory("list", "-u", "fay", "-n", "facts").err


def test_what_is_wrong_is_said(memory, corral):
    assert "cannot be read" in memory("ingest", "nowhere.md").err
    assert "no value" in memory("remember", "x", "--meta", "a").err
    assert "no JSON" in memory("remember", "x", "--meta", "a:=").err
    assert corral("memory", "forget").status == 2


def test_refreshing_says_what_failed(corral, stub):
    job = {"id": "01900000-0000-7000-8000-000000000000", "status": "failed", "error": {"message": "no", "code": "x"}}
    server = stub(json_answer({"job_id": job["id"]}, 202), json_answer(job), json_answer(job), json_answer(job))
    done = corral("memory", "refresh", "--url", server.url)
    assert done.status != 0
