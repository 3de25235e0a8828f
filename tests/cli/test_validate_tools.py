"""What `corral validate` finds in what tools may do, and where they come from."""

from __future__ import annotations

from pathlib import Path

import pytest

CODE = "from corral import App\n\napp = App()\n\n\n@app.entrypoint\ndef main(payload):\n    return payload\n"


@pytest.mark.parametrize(
    ("text", "key", "said"),
    [
        ("  policy: {rules: [{name: a, decide: allow, when: [{at: x, matches: (a+)+}]}]}", "tools.policy", "'a'"),
        ("  policy: {rules: [{name: a, decide: deny}, {name: a, decide: deny}]}", "tools.policy", "Two rules"),
        ("  policy: {cedar: none.cedar}", "tools.policy", "none.cedar"),
        ("  mcp: {crm: {}}", "tools.mcp", "tools.mcp.crm"),
        ('  openapi: {shop: {document: shop.json, allow: ["no such"]}}', "tools.openapi", "network"),
        ("  policy: {rules: [{name: a, decide: maybe}]}", "tools.policy.rules[0].decide", "maybe"),
    ],
)
def test_what_cannot_work_is_found_before_anything_starts(here, corral, text, key, said):
    Path("agents.py").write_text(CODE)
    Path("corral.yaml").write_text(f"tools:\n{text}\n")
    (problem,) = corral("validate", "--json").json["problems"]
    assert problem["key"] == key
    assert problem["source"].startswith("corral.yaml:2")
    assert said in problem["message"]


def test_the_examples_of_the_documentation_are_taken(here, corral):
    page = (Path(__file__).parents[2] / "docs/tools.md").read_text(encoding="utf-8")
    examples = [part.partition("```")[0] for part in page.split("```yaml\n")[1:]]
    whole = [text for text in examples if text.startswith("tools:")]
    assert len(whole) >= 3
    Path("agents.py").write_text(CODE)
    for text in whole:
        Path("corral.yaml").write_text(text.replace("${GITHUB_TOKEN}", "t").replace("${BILLING_KEY}", "k"))
        assert corral("validate", "--json").json["problems"] == [], text
