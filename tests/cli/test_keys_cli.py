"""What `corral keys` does, on the machine and on a server."""

from __future__ import annotations

import json

from command_line import json_answer

from corral.security.keys import id_of_key, is_whole

KEY = {
    "id": "abcdefgh23456723",
    "tenant": "acme",
    "name": "ci",
    "state": "active",
    "tier": "gold",
    "roles": ["invoker"],
    "agents": [],
    "models": [],
    "access_key": None,
    "created_at": 1_728_043_200.0,
    "created_by": "key x",
    "rotated_at": None,
    "old_until": None,
    "expires_at": None,
    "last_used_at": None,
    "revoked_at": None,
}


def test_the_first_key_is_made_on_the_machine(corral, here):
    made = corral("keys", "create", "first", "--role", "admin", "--expires", "90d", "--tenant", "acme")
    assert made.status == 0
    key = made.out.strip()
    assert is_whole(key)
    assert "Nobody sees it again" in made.err
    assert "It is the first one" in made.err
    assert "--role admin" not in made.err
    listed = corral("keys", "list", "--tenant", "acme", "--json").json["items"]
    assert [(one["id"], one["name"], one["roles"], one["state"]) for one in listed] == [
        (id_of_key(key), "first", ["admin"], "active")
    ]
    assert listed[0]["created_by"].endswith("on the machine")
    assert "first" in corral("keys", "list", "--tenant", "acme").out
    empty = corral("keys", "list")
    assert (empty.status, empty.out) == (0, "")
    assert "corral keys create --role admin" in empty.err


def test_who_makes_the_first_key_hears_what_that_changes(corral, here):
    first = corral("keys", "create", "ci")
    assert "It is the first one" in first.err
    assert "corral keys create --role admin" in first.err
    assert "the first one" not in corral("keys", "create", "boss", "--role", "admin").err


def test_where_keys_were_asked_for_before_none_is_the_first(corral, here):
    (here / "corral.yaml").write_text("security: {require_key: true}\n")
    assert "the first one" not in corral("keys", "create", "ci").err


def test_exchanged_shown_and_revoked(corral, here):
    made = corral("keys", "create", "ci", "--tier", "gold", "--agent", "sup*", "--model", "small", "--json").json
    shown = corral("keys", "show", made["id"])
    for word in ("ci", "gold", "sup*", "small", "invoker"):
        assert word in shown.out
    assert made["key"] not in shown.out
    turned = corral("keys", "rotate", made["id"], "--grace", "1h", "--expires", "30d").out.strip()
    assert id_of_key(turned) == made["id"]
    assert turned != made["key"]
    seen = corral("keys", "show", made["id"], "--json").json
    assert seen["old_until"] > seen["rotated_at"]
    unsure = corral("keys", "revoke", made["id"])
    assert (unsure.status, "Nothing was revoked" in unsure.err) == (2, True)
    assert "Revoked" in corral("keys", "revoke", made["id"], "--yes").out
    assert corral("keys", "list", "--json").json["items"][0]["state"] == "revoked"
    over = corral("keys", "rotate", made["id"])
    assert (over.status, "corral keys create" in over.err) == (1, True)
    unknown = corral("keys", "revoke", "none", "--yes")
    assert (unknown.status, "corral keys list" in unknown.err) == (3, True)


def test_a_pair_for_aws_needs_a_secret(corral, here):
    refused = corral("keys", "create", "--aws")
    assert refused.status != 0
    assert "security.secret" in refused.err
    (here / "corral.yaml").write_text('security: {secret: "0123456789012345678901234567890123456789"}\n')
    made = corral("keys", "create", "--aws")
    key, access_key, secret_key = made.out.splitlines()
    assert access_key == f"AWS_ACCESS_KEY_ID=AKIA{id_of_key(key).upper()}"
    assert len(secret_key.removeprefix("AWS_SECRET_ACCESS_KEY=")) == 40


def test_with_a_key_a_server_is_asked(corral, here, stub):
    server = stub(json_answer({**KEY, "key": "corral_live_x"}, 201))
    made = corral("keys", "create", "ci", "--tier", "gold", "--url", server.url, "--api-key", "an-admins")
    assert (made.status, made.out) == (0, "corral_live_x\n")
    (request,) = server.requests
    assert request.startswith(b"POST /v1/keys HTTP/1.1")
    assert b"an-admins" in request
    assert json.loads(request.rpartition(b"\r\n\r\n")[2])["tier"] == "gold"
    listed = corral("keys", "list", "--url", stub(json_answer({"items": [KEY], "next_cursor": "more"})).url)
    assert "abcdefgh23456723" in listed.out
    assert "--cursor more" in listed.err
    server = stub(json_answer(KEY), json_answer({**KEY, "state": "revoked"}))
    assert corral("keys", "revoke", KEY["id"], "--yes", "--url", server.url).status == 0
    assert [one.split(b" HTTP")[0] for one in server.requests] == [
        b"GET /v1/keys/abcdefgh23456723",
        b"DELETE /v1/keys/abcdefgh23456723",
    ]
    server = stub(json_answer({**KEY, "key": "corral_live_y"}))
    assert corral("keys", "rotate", KEY["id"], "--url", server.url).out == "corral_live_y\n"
    assert json.loads(server.requests[0].rpartition(b"\r\n\r\n")[2]) == {"grace_s": 86_400.0}
