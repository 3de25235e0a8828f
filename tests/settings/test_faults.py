"""What is wrong with settings is named where it stands, down to the parts of lists and tables."""

from __future__ import annotations

import pytest

from corral.errors import ConfigError


def test_every_part_has_its_own_place(faults):
    text = """\
security:
  api_keys:
    - key: ${KEY}
      tenat: shop
    - {tenant: 5,
       key: ''}
    - tier: gold
server:
  aliases:
    /a: ${A}
    /b: 3
    /c: main
    /a: main
agentcore:
  identity_providers: [5]
"""
    assert [(source, key) for source, key, _ in faults(text, env={"KEY": "k"})] == [
        ("corral.yaml:13", "server.aliases./a"),
        ("corral.yaml:4", "security.api_keys[0].tenat"),
        ("corral.yaml:5", "security.api_keys[1].tenant"),
        ("corral.yaml:6", "security.api_keys[1].key"),
        ("corral.yaml:7", "security.api_keys[2]"),
        ("corral.yaml:10", "server.aliases./a"),
        ("corral.yaml:11", "server.aliases./b"),
        ("corral.yaml:15", "agentcore.identity_providers[0]"),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("server: {port: 08}", "plain digits"),
        ("server: {port: 0x1F}", "plain digits"),
        ("server: {port: '80'}", "without quotes"),
        ("runtime: {timeout_s: 12:30}", "plain digits"),
        ("runtime: {timeout_s: .inf}", "plain digits"),
        ("observability: {traces_per_s_max: 1e999}", "finite"),
        ("sessions: {ttl_s: 1e300}", "<= 1"),
        ("runtime: {debug: on}", "`true` or `false`"),
        ("runtime: {debug: 'True'}", "`true` or `false`"),
        ("name: 5", "quotes around"),
        ("server: {role: workers}", "There is: all, api, worker, control. Did you mean `worker`?"),
        ("name: !secret x", "'!secret' means nothing"),
        ("name: !!python/name:os.system x", "leave it out"),
        ("server.port: 80", "Write `server:`"),
        ("security: {api_keys: [{key: ''}]}", "may not be empty"),
        ('security: {api_keys: [{key: "a\\n"}]}', "may not be empty"),
        ("security: {api_keys: [{key: a}, {key: b}, {key: a, tenant: t}]}", "the same `key`"),
    ],
)
def test_each_says_what_to_do(faults, text, said):
    ((source, _, message),) = faults(text)
    assert source == "corral.yaml:1"
    assert said in message


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("cache: {similarity_threshold: 0.9}", "cache.semantic.similarity_threshold"),
        ("cache: {semantic: {ttl_s: 60}}", "cache.ttl_s"),
        ("cache: {semantic: {entries_mx: 60}}", "entries_max"),
        ("models: {tokens_per_minute: 60}", "models.providers.NAME.tokens_per_minute"),
        ("models: {providers: {one: {tokens_pr_minute: 60}}}", "tokens_per_minute"),
        ("limits: {requests_per_minute: 60}", "limits.rates.NAME.requests_per_minute"),
        ("security: {tenant: acme}", "security.api_keys[0].tenant"),
        ("server: {timeout_s: 60}", "runtime.timeout_s"),
        ("server: {prot: 60}", "port"),
    ],
)
def test_a_key_that_stands_elsewhere_is_shown_where_it_stands(faults, text, meant):
    ((_, _, message),) = faults(text)
    assert f"Did you mean `{meant}`?" in message


@pytest.mark.parametrize(
    "text",
    [
        "name: &a [*a]",
        "server:\n  aliases: &a {x: *a}",
        "name: " + "[" * 1500 + "]" * 1500,
        "name: " + "[" * 40 + "]" * 40,
        "a: &a [x,x,x,x,x,x,x,x,x]\n"
        + "".join(f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
    ],
)
@pytest.mark.parametrize("form", ["text", "agentcore"])
def test_what_has_no_end_is_refused(load, text, form):
    with pytest.raises(ConfigError, match="nested too deeply"):
        load(**{form: f"{text}\n"})


def test_a_character_that_yaml_does_not_know_and_a_second_document(load):
    with pytest.raises(ConfigError, match=r"corral\.yaml:3: .* U\+0001"):
        load("name: x\n# é\n\x01")
    with pytest.raises(ConfigError, match=r"corral\.yaml:2:1: .* single document"):
        load("name: x\n---\nname: y\n")


def test_a_value_may_stand_at_several_places_by_an_alias(load):
    settings = load("server: {aliases: {/a: &agent main, /b: *agent}}\n").settings
    assert settings.server.aliases == {"/a": "main", "/b": "main"}
