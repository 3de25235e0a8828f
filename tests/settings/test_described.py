from __future__ import annotations

import pytest

from corral.settings.check import FIELDS
from corral.settings.described import described
from corral.settings.masking import MASK, masked

TEXT = """\
store:
  url: postgresql://app:hunter2@db/corral
security:
  api_keys: [{key: hunter2, tenant: shop}]
agentcore:
  identity_providers: [{name: google, client_id: abc, client_secret: hunter2}]
tools:
  mcp: {crm: {url: https://crm, headers: {Authorization: Bearer hunter2}}, own: {command: [x], env: {PASS: hunter2}}}
  openapi: {shop: {document: shop.yaml, query: {appid: hunter2}}}
"""


def test_every_setting_is_told_with_its_source_and_without_secrets(load):
    loaded = load(TEXT, env={"CORRAL_SERVER_PORT": "9000"}, flags={"name": "shop"})
    found = {setting.key: setting for setting in described(loaded)}
    assert list(found) == list(FIELDS)
    assert "hunter2" not in str(found)
    assert "hunter2" not in repr(loaded)
    assert "shop" in repr(loaded)
    assert (found["server.port"].value, found["server.port"].source) == (9000, "CORRAL_SERVER_PORT")
    assert (found["name"].value, found["name"].source) == ("shop", "--name")
    assert (found["server.host"].value, found["server.host"].source) == ("127.0.0.1", "(default)")
    assert found["store.url"].value == f"postgresql://app:{MASK}@db/corral"
    assert found["security.api_keys"].value == [{"key": MASK, "tenant": "shop"}]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:p@h/d", f"postgresql://u:{MASK}@h/d"),
        ("postgresql://:p@h", f"postgresql://:{MASK}@h"),
        ("postgresql://u:p@p/p?:@h/d", f"postgresql://u:{MASK}@h/d"),
        ("postgresql://h/d?user=u&password=p&x=y", f"postgresql://h/d?user=u&password={MASK}&x=y"),
        ("postgresql://u@h:5432/d", "postgresql://u@h:5432/d"),
        ("sqlite:///a:b/c.db", "sqlite:///a:b/c.db"),
    ],
)
def test_passwords_in_urls(url, shown):
    assert masked("url", url) == shown
