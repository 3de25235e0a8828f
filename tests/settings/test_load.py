from __future__ import annotations

import string
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from corral.errors import ConfigError
from corral.settings.check import FIELDS
from corral.settings.load import load_settings
from corral.settings.schema import defaults
from corral.settings.sections import ApiKey, Settings
from corral.settings.variables import NAMES

# -- where a value comes from


def test_nothing_means_the_defaults(load):
    loaded = load()
    assert (loaded.settings, loaded.files, loaded.sources) == (Settings(), [], {})


def test_an_empty_file_means_the_defaults(load, tmp_path):
    loaded = load("# nothing but a comment\n")
    assert (loaded.settings, loaded.files) == (Settings(), [str(tmp_path / "corral.yaml")])
    assert load("server:\n  # port: 1\n").settings == Settings()


def test_later_sources_win(load):
    agentcore = "name: one\ntimeout: 1\nregion: eu-west-1\nentrypoint: one.py\n"
    text = "name: two\nruntime:\n  timeout_s: 2\nentrypoint: two.py\n"
    env = {"CORRAL_NAME": "three", "CORRAL_RUNTIME_TIMEOUT_S": "3"}
    loaded = load(text, agentcore=agentcore, env=env, flags={"name": "four", "server.port": None})
    settings = loaded.settings
    assert (settings.name, settings.runtime.timeout_s) == ("four", 3.0)
    assert (settings.entrypoint, settings.agentcore.region) == ("two.py", "eu-west-1")
    assert loaded.sources == {
        "agentcore.region": ".bedrock_agentcore.yaml:3",
        "entrypoint": "corral.yaml:4",
        "name": "--name",
        "runtime.timeout_s": "CORRAL_RUNTIME_TIMEOUT_S",
    }
    assert [Path(file).name for file in loaded.files] == [".bedrock_agentcore.yaml", "corral.yaml"]


def test_a_named_file_replaces_corral_yaml(load, tmp_path):
    (tmp_path / "other.yaml").write_text("name: other\n")
    assert load("name: here\n", path=tmp_path / "other.yaml").settings.name == "other"


def test_a_named_file_that_is_not_there(load, tmp_path):
    with pytest.raises(ConfigError, match="corral init"):
        load(path=tmp_path / "nothing.yaml")


def test_every_setting_can_come_from_the_environment(load):
    assert set(NAMES.values()) == set(FIELDS)
    env = {
        "CORRAL_SERVER_PORT": "9000",
        "CORRAL_SERVER_ALIASES": '{"/agent": "main"}',
        "CORRAL_SECURITY_API_KEYS": '[{"key": "k", "tenant": "t"}]',
        "CORRAL_SECURITY_ALLOW_UNAUTHENTICATED": "true",
        "CORRAL_SESSIONS_TTL_S": "2.5",
        "CORRAL_URL": "http://x",
        "CORRAL_API_KEY": "x",
        "PATH": "/bin",
    }
    settings = load(env=env).settings
    assert (settings.server.port, settings.server.aliases) == (9000, {"/agent": "main"})
    assert settings.security.api_keys == [ApiKey(key="k", tenant="t")]
    assert settings.security.allow_unauthenticated
    assert settings.sessions.ttl_s == 2.5


# -- variables


@pytest.mark.parametrize(
    ("written", "env", "meant"),
    [
        ("${A}", {"A": "x"}, "x"),
        ("${A:-y}", {"A": "x"}, "x"),
        ("${A:-y}", {}, "y"),
        ("${A:-y}", {"A": ""}, "y"),
        ("${A:-}", {}, ""),
        ("${A}", {"A": ""}, ""),
        ("a-${A}-${B}", {"A": "1", "B": "2"}, "a-1-2"),
        ("$${A}", {}, "${A}"),
        ("$A $", {"A": "x"}, "$A $"),
        ("${A}", {"A": "${B}"}, "${B}"),
    ],
)
def test_variables(load, written, env, meant):
    assert load(f"name: '{written}'\n", env=env).settings.name == meant


def test_a_variable_may_be_a_number_a_boolean_or_a_list(load):
    text = "server:\n  port: ${P}\n  aliases: ${A}\nruntime: {debug: '${D}'}\nsecurity:\n  api_keys:\n    - key: ${K}\n"
    settings = load(text, env={"P": "9000", "A": '{"/a": "main"}', "D": "true", "K": "12"}).settings
    assert (settings.server.port, settings.server.aliases, settings.runtime.debug) == (9000, {"/a": "main"}, True)
    assert settings.security.api_keys[0].key == "12"


def test_a_variable_that_is_not_set(faults):
    ((source, key, message),) = faults("store:\n  url: postgresql://${DB_HOST}/x\n")
    assert (source, key) == ("corral.yaml:2", "store.url")
    assert "DB_HOST is not set" in message
    assert "${DB_HOST:-default}" in message


@pytest.mark.parametrize("written", ["${", "${}", "${1}", "${A B}", "${A", "${A-x}"])
def test_what_is_no_variable(faults, written):
    ((_, key, message),) = faults(f"name: 'x{written}'\n")
    assert key == "name"
    assert "${NAME}" in message


# -- faults


def test_every_problem_at_once(faults):
    text = "names: x\nserver:\n  prot: 1\n  port: high\n  workers: 0\nsession:\n  record: false\nstore: 3\n"
    agentcore = "timeout: soon\n"
    env = {"CORRAL_SERVER_PORT": "eighty", "CORRAL_SERVER_HOTS": "x"}
    found = faults(text, agentcore=agentcore, env=env, flags={"server.workers": "many"})
    assert sorted((source, key) for source, key, _ in found) == sorted(
        [
            (".bedrock_agentcore.yaml:1", "runtime.timeout_s"),
            ("corral.yaml:1", "names"),
            ("corral.yaml:3", "server.prot"),
            ("corral.yaml:4", "server.port"),
            ("corral.yaml:5", "server.workers"),
            ("corral.yaml:6", "session"),
            ("corral.yaml:8", "store"),
            ("CORRAL_SERVER_PORT", "server.port"),
            ("CORRAL_SERVER_HOTS", "(environment)"),
            ("--workers", "server.workers"),
        ]
    )
    said = {key: message for _, key, message in found}
    assert "`name`" in said["names"]
    assert "`port`" in said["server.prot"]
    assert "`sessions`" in said["session"]
    assert "CORRAL_SERVER_HOST" in said["(environment)"]


def test_a_key_of_another_section_is_found_there(faults):
    ((_, _, message),) = faults("server:\n  timeout_s: 1\n")
    assert "`runtime.timeout_s`" in message
    ((_, _, message),) = faults("port: 1\n")
    assert "`server.port`" in message


@pytest.mark.parametrize(
    ("text", "key", "said"),
    [
        ("- a\n- b\n", "(file)", "`key: value`"),
        ("just text\n", "(file)", "`key: value`"),
        ("server: [1]\n", "server", "`key: value`"),
        ("server:\n  port: 1\n  port: 2\n", "server.port", "line 2"),
        ("? [a]\n: 1\n", "(key)", "plain text"),
        ("server:\n  port: '8080'\n", "server.port", "int"),
        ("server:\n  port: 80.5\n", "server.port", "int"),
        ("server:\n  port: null\n", "server.port", "int"),
        ("name: true\n", "name", "quotes"),
        ("runtime:\n  debug: yes\n", "runtime.debug", "bool"),
        ("sessions:\n  ttl_s: 0\n", "sessions.ttl_s", "> 0"),
        ("sessions:\n  on_conflict: wait\n", "sessions.on_conflict", "'wait'"),
        ("server:\n  aliases: {/a: 1}\n", "server.aliases./a", "str"),
        ("security:\n  api_keys: [{tenant: t}]\n", "security.api_keys[0]", "`key`"),
        ("security:\n  api_keys: [{key: a, tenants: t}]\n", "security.api_keys[0].tenants", "`tenant`"),
    ],
)
def test_faults_of_shape_and_type(faults, text, key, said):
    ((source, found, message),) = faults(text)
    assert source.startswith("corral.yaml:")
    assert found == key
    assert said in message


@pytest.mark.parametrize("text", ["a: [", "a: b: c", "\ta: 1", "a: *nobody", "%", "a: \x01"])
def test_what_is_no_yaml_names_its_place(load, text):
    with pytest.raises(ConfigError, match=r"corral\.yaml.*not YAML"):
        load(text)


def test_what_is_no_text(load, tmp_path):
    (tmp_path / "corral.yaml").write_bytes(b"name: \xe9\n")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load()


def test_yaml_surprises_are_texts(load):
    for text in ("no", "on", "NO", "1_000", "0x10", "2024-01-01", "1:30", "~x"):
        assert load(f"name: {text}\n").settings.name == text


def test_lists_from_the_environment_are_json(faults):
    ((source, key, message),) = faults(env={"CORRAL_SECURITY_API_KEYS": "[oops"})
    assert (source, key) == ("CORRAL_SECURITY_API_KEYS", "security.api_keys")
    assert "JSON" in message


# -- AgentCore's file


def test_the_flat_form(load):
    text = """\
name: my-agent
region: eu-central-1
runtime: PYTHON_3_12
entrypoint: my_agent.py
memory: 4096
timeout: 120
identity_providers:
  google: {client_id: abc, type: oauth2}
disable_memory: true
disable_otel: true
something_else: [1, 2]
"""
    settings = load(agentcore=text).settings
    assert (settings.name, settings.entrypoint, settings.runtime.timeout_s) == ("my-agent", "my_agent.py", 120.0)
    agentcore = settings.agentcore
    assert (agentcore.region, agentcore.runtime, agentcore.memory) == ("eu-central-1", "PYTHON_3_12", 4096)
    assert agentcore.identity_providers == [{"name": "google", "client_id": "abc", "type": "oauth2"}]
    assert agentcore.disable_memory
    assert agentcore.disable_otel


def test_the_starter_toolkits_form(load):
    text = """\
default_agent: second
agents:
  first: {name: first, entrypoint: first.py}
  second:
    name: second
    entrypoint: second.py
    platform: linux/arm64
    aws:
      region: us-west-2
      account: 123456789012
      observability: {enabled: false}
    memory: {mode: NO_MEMORY}
"""
    loaded = load(agentcore=text)
    settings = loaded.settings
    assert (settings.name, settings.entrypoint) == ("second", "second.py")
    assert (settings.agentcore.region, settings.agentcore.account) == ("us-west-2", "123456789012")
    assert settings.agentcore.disable_memory
    assert settings.agentcore.disable_otel
    assert loaded.sources["name"] == ".bedrock_agentcore.yaml:2"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- 1\n",
        "agents: {}\n",
        "agents: {a: 1}\n",
        "agents: {a: {}}\ndefault_agent: b\n",
        "agents: 3\n",
        "agents: {a: {aws: 1, memory: 1}}\n",
        "default_agent: [1]\nagents: {a: {name: n}}\n",
    ],
)
def test_an_odd_file_of_another_tool_is_no_fault(load, text):
    assert load(agentcore=text).settings.server == Settings().server


# -- anything at all

_KEYS = st.sampled_from([*sorted({key for name in FIELDS for key in (name, *name.split("."))}), "agents", "${A}"])
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["${A}", "${", "$${", "9"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS | st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


def only_config_errors(folder, *, env=None, flags=None):
    try:
        settings = load_settings(env=env or {}, flags=flags, directory=folder).settings
    except ConfigError:
        return
    assert isinstance(settings, Settings)


@given(
    content=st.dictionaries(_KEYS, _VALUES, max_size=4),
    name=st.sampled_from(["corral.yaml", ".bedrock_agentcore.yaml"]),
)
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_tree_gives_settings_or_a_config_error(tmp_path, content, name):
    import yaml

    (tmp_path / name).write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8", errors="replace")
    only_config_errors(tmp_path, env={"A": "9"})
    (tmp_path / name).unlink()


@given(
    text=st.text(alphabet=string.printable + "é€😀\x85\u2028") | st.binary().map(lambda data: data.decode("latin-1"))
)
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_text_gives_settings_or_a_config_error(tmp_path, text):
    for name in ("corral.yaml", ".bedrock_agentcore.yaml"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        only_config_errors(tmp_path)
        (tmp_path / name).write_bytes(text.encode("utf-16"))
        only_config_errors(tmp_path)
        (tmp_path / name).unlink()


@given(values=st.dictionaries(st.sampled_from(sorted(NAMES)), st.text(), max_size=4))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_environment_and_flags_give_settings_or_a_config_error(tmp_path, values):
    only_config_errors(tmp_path, env=values)
    only_config_errors(tmp_path, flags={NAMES[name]: value for name, value in values.items()})


@given(data=st.data())
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_what_is_written_is_what_is_read(tmp_path, data):
    import yaml

    key = data.draw(
        st.sampled_from([key for key, value in defaults().items() if isinstance(value, str) and "." in key])
    )
    text = data.draw(st.text().filter(lambda text: "${" not in text))
    section, _, name = key.partition(".")
    (tmp_path / "corral.yaml").write_text(yaml.safe_dump({section: {name: text}}, default_style='"'))
    try:
        settings = load_settings(env={}, directory=tmp_path).settings
    except ConfigError:
        assert key in {
            "server.role",
            "sessions.on_conflict",
            "cache.coalesce",
            "store.sync",
            "observability.log_level",
            "observability.log_format",
            "agents.keep",
            "memory.redaction",
        }
    else:
        assert getattr(getattr(settings, section), name) == text
