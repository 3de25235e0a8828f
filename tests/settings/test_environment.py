"""What the environment says, and what of it is none of our business."""

from __future__ import annotations

import pytest

from corral.settings.sections import Settings


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("CORRAL_SERVER_PROT", "CORRAL_SERVER_PORT"),
        ("CORRAL_SEVER_PORT", "CORRAL_SERVER_PORT"),
        ("CORRAL_LOG_LEVEL", "CORRAL_OBSERVABILITY_LOG_LEVEL"),
        ("CORRAL_API_KEYS", "CORRAL_SECURITY_API_KEYS"),
    ],
)
def test_a_variable_that_was_meant_otherwise(faults, variable, meant):
    ((source, _, message),) = faults(env={variable: "1"})
    assert source == variable
    assert f"Did you mean {meant}?" in message


def test_a_variable_like_no_setting_is_refused_without_a_guess(faults):
    ((_, _, message),) = faults(env={"CORRAL_ZZZ_QQQ": "1"})
    assert message == "There is no such setting."


def test_a_variable_that_a_value_names_is_no_fault(load):
    text = "security:\n  api_keys:\n    - key: ${CORRAL_KEY_ONE}\n    - key: ${CORRAL_KEY_TWO:-two}\n"
    settings = load(text, env={"CORRAL_KEY_ONE": "one"}).settings
    assert [key.key for key in settings.security.api_keys] == ["one", "two"]


def test_what_kubernetes_says_about_a_service_of_our_name_is_no_setting(load):
    env = {
        "CORRAL_SERVICE_HOST": "10.0.0.1",
        "CORRAL_SERVICE_PORT": "80",
        "CORRAL_SERVICE_PORT_HTTP": "80",
        "CORRAL_PORT": "tcp://10.0.0.1:80",
        "CORRAL_PORT_80_TCP": "tcp://10.0.0.1:80",
        "CORRAL_PORT_80_TCP_PROTO": "tcp",
        "CORRAL_PORT_80_TCP_PORT": "80",
        "CORRAL_PORT_80_TCP_ADDR": "10.0.0.1",
        "CORRAL_SERVER_SERVICE_HOST": "10.0.0.2",
        "CORRAL_SERVER_PORT": "tcp://10.0.0.2:80",  # a service called `corral-server`
    }
    loaded = load(env=env)
    assert (loaded.settings, loaded.sources) == (Settings(), {})


@pytest.mark.parametrize("text", ["", "eighty", "tcp://", "80 81"])
def test_a_port_that_is_none(faults, text):
    ((source, key, message),) = faults(env={"CORRAL_SERVER_PORT": text})
    assert (source, key) == ("CORRAL_SERVER_PORT", "server.port")
    assert ("It is empty" in message) == (not text)


def test_json_holds_variables_but_a_variable_holds_text(load):
    env = {
        "CORRAL_SERVER_ALIASES": '{"/a": "${AGENT}", "/b": "${NONE:-b}"}',
        "AGENT": 'it"s ${X}',
        "ALL": '{"/a": "${X}"}',
    }
    assert load(env=env).settings.server.aliases == {"/a": 'it"s ${X}', "/b": "b"}
    assert load("server: {aliases: '${ALL}'}", env={"ALL": env["ALL"]}).settings.server.aliases == {"/a": "${X}"}


def test_json_that_has_no_end_or_is_no_list(faults):
    env = {"CORRAL_SECURITY_API_KEYS": "[" * 100_000, "CORRAL_SERVER_ALIASES": "main"}
    said = {key: message for _, key, message in faults(env=env)}
    assert "JSON" in said["server.aliases"]
    assert "nested too deeply" in said["security.api_keys"] or "JSON" in said["security.api_keys"]


def test_what_a_secret_was_is_not_said(faults):
    env = {"CORRAL_SECURITY_API_KEYS": '[{"key": "hunter2", "tenat": "hunter2"}]', "CORRAL_SERVER_PORT": "hunter2"}
    assert "hunter2" not in str(faults(env=env))
    assert "hunter2" not in str(faults(env={"CORRAL_SECURITY_API_KEYS": "hunter2"}))
