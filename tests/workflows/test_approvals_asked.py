"""Questions to people: what can be asked, what can be answered, and what happens when nobody does."""

import pytest
from flow_scene import begun, done, over, task
from hypothesis import given
from hypothesis import strategies as st

from corral import App
from corral.errors import ValidationFailed
from corral.workflows.tasks.approvals import asked_of, decided, form_of
from corral.workflows.tasks.links import Link, LinkInvalid, Links

FORM = {
    "type": "object",
    "properties": {
        "amount": {"type": "number", "minimum": 0, "maximum": 100},
        "reason": {"type": "string", "minLength": 3, "maxLength": 20, "default": "none given"},
        "kind": {"type": "string", "enum": ["cash", "card"]},
        "times": {"type": "integer"},
        "sure": {"type": "boolean"},
    },
    "required": ["amount"],
}


@pytest.fixture
def app():
    app = App()
    app.function(name="echo")(lambda event: event)
    return app


def test_what_can_be_asked():
    asked = asked_of({"message": "Refund?"})
    assert (asked.choices, asked.assignee, asked.form) == (("approve", "reject"), "", None)
    escalated = asked_of(
        {
            "message": "Refund?",
            "assignee": "ada",
            "escalate": [{"after_s": 10, "assignee": "bob"}, {"after_s": 60, "assignee": "eve"}],
        }
    )
    assert [escalated.assignee_after(s) for s in (0, 9.9, 10, 59, 60, 1e6)] == [
        "ada",
        "ada",
        "bob",
        "bob",
        "eve",
        "eve",
    ]


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (None, "Expected `object`"),
        ({}, "missing required field `message`"),
        ({"message": "x", "choice": []}, "unknown field `choice`"),
        ({"message": "x", "choices": []}, "length >= 1"),
        ({"message": "x", "choices": ["a", "a"]}, "different"),
        ({"message": "x", "deadline_s": 0}, "> 0"),
        ({"message": "x", "otherwise": "reject"}, "`deadline_s`"),
        ({"message": "x", "deadline_s": 5, "otherwise": "maybe"}, "one of the choices"),
        ({"message": "x", "form": {"type": "array"}}, "'array'"),
        ({"message": "x", "form": {"properties": {"a": {"type": "array"}}}}, "'array'"),
        ({"message": "x", "form": {"properties": {"a": {"type": "string", "pattern": "(a+)+"}}}}, "`pattern`"),
        ({"message": "x", "form": {"properties": {"a": {"type": "string", "minLength": "a"}}}}, "Expected `int`"),
        ({"message": "x", "form": {"properties": {"a": {"type": "integer", "default": "a"}}}}, "`default`"),
        ({"message": "x", "form": {"required": ["b"]}}, "requires 'b'"),
        ({"message": "x", "form": {"properties": {str(n): {"type": "string"} for n in range(51)}}}, "length <= 50"),
        (
            {"message": "x", "escalate": [{"after_s": 9, "assignee": "a"}, {"after_s": 3, "assignee": "b"}]},
            "later steps",
        ),
    ],
)
def test_what_cannot_be_asked(payload, said):
    with pytest.raises(ValidationFailed, match=said):
        asked_of(payload)


def test_what_is_answered():
    asked = asked_of({"message": "How much?", "choices": ["pay", "wait"], "form": FORM})
    answer = decided(asked, {"decision": "pay", "note": "fine", "form": {"amount": 5}}, by="ada")
    assert answer == {
        "decision": "pay",
        "by": "ada",
        "note": "fine",
        "form": {"amount": 5, "reason": "none given"},
    }
    plain = asked_of({"message": "?"})
    assert decided(plain, {"decision": "reject"}, by="")["form"] is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"decision": "never"}, "'pay', 'wait'"),
        ({}, "no answer"),
        ({"decision": "pay"}, "not have the shape"),
        ({"decision": "pay", "form": {"amount": 5}, "by": "me"}, "no answer"),
    ],
)
def test_what_is_no_answer(given, said):
    asked = asked_of({"message": "How much?", "choices": ["pay", "wait"], "form": FORM})
    with pytest.raises(ValidationFailed, match=said):
        decided(asked, given, by="ada")
    with pytest.raises(ValidationFailed, match="no form"):
        decided(asked_of({"message": "?"}), {"decision": "approve", "form": {"a": 1}}, by="")


def test_every_fault_of_a_form_is_said_at_once():
    with pytest.raises(ValidationFailed) as failed:
        form_of(FORM).filled_in(
            {"amount": 101, "reason": "no", "kind": "gold", "times": True, "sure": "yes", "more": 1}
        )
    assert {fault["pointer"]: fault["message"] for fault in failed.value.errors} == {
        "/more": "The form has no such field.",
        "/amount": "Expected 100 or less.",
        "/reason": "Expected 3 to 20 characters.",
        "/kind": "Expected one of cash, card.",
        "/times": "Expected a value of type integer.",
        "/sure": "Expected a value of type boolean.",
    }
    with pytest.raises(ValidationFailed):
        form_of(FORM).filled_in({"amount": -1})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=6,
)
NAMES = st.sampled_from(["a", "b", "c"])
FIELDS = st.fixed_dictionaries(
    {"type": st.sampled_from(["string", "number", "integer", "boolean"])},
    optional={
        "minimum": st.integers(-5, 5),
        "maxLength": st.integers(0, 5),
        "enum": st.lists(st.integers() | st.text(max_size=2), min_size=1, max_size=3),
        "default": JSON,
    },
)


@given(
    schema=JSON.filter(lambda value: isinstance(value, dict))
    | st.fixed_dictionaries({"properties": st.dictionaries(NAMES, FIELDS | JSON), "required": st.lists(NAMES)}),
    filled=st.dictionaries(NAMES, JSON),
)
def test_any_form_is_refused_or_can_be_filled_in(schema, filled):
    try:
        asked = asked_of({"message": "?", "form": schema})
        answer = decided(asked, {"decision": "approve", "form": filled}, by="")
    except ValidationFailed:
        return
    assert set(answer["form"]) <= set(schema.get("properties", ()))
    assert set(schema.get("required", ())) <= set(answer["form"])


# -- in executions


async def test_a_person_answers(build, app):
    service = await build(app)
    definition = task("corral:approval", {"message.$": "States.Format('Refund {}?', $.amount)", "assignee": "ada"})
    info = await begun(service, definition, {"amount": 5})
    page = await service.flowing.engine.approvals("default")
    (question,) = page.items
    assert question.payload == {"message": "Refund 5?", "assignee": "ada"}
    await service.flowing.desk.decide("default", question.id, {"decision": "approve"}, by="ada")
    over_now = await over(service, info)
    assert over_now.output == {"decision": "approve", "by": "ada", "note": "", "form": None}


async def test_a_question_that_cannot_be_asked_fails_its_state(build, app):
    service = await build(app)
    info = await done(service, task("corral:approval"), {"message": "x", "choices": []})
    assert (info.status, info.error) == ("FAILED", "States.Runtime")
    assert "This cannot be asked" in info.cause


async def test_nobody_answers(build, app):
    service = await build(app)
    late = await done(service, task("corral:approval", {"message": "?", "deadline_s": 0.05}))
    assert (late.status, late.error) == ("FAILED", "States.Timeout")
    assumed = await done(service, task("corral:approval", {"message": "?", "deadline_s": 0.05, "otherwise": "reject"}))
    assert assumed.output == {"decision": "reject", "by": "", "note": "Nobody answered in time.", "form": None}
    sooner = task("corral:approval", {"message": "?", "deadline_s": 60, "otherwise": "reject"}, TimeoutSeconds=1)
    info = await done(service, sooner)
    assert info.error == "States.Timeout", "what the state itself says goes first where it is sooner"
    assert not (await service.flowing.engine.approvals("default", states=("new",))).items


# -- links


class Turned:
    def __init__(self):
        self.at = 1000.0

    def now(self):
        return self.at

    def monotonic(self):
        return self.at


async def test_links_are_signed(build, app):
    service, clock = await build(app), Turned()
    store = service.stores.resources
    links = Links(store, clock=clock)
    link = Link(tenant="acme", token="t", expires_at=1010.0)
    text = await links.sign(link)
    assert await links.read(text) == link
    assert await Links(store, clock=clock).read(text) == link, "the secret is kept for all workers"
    other = Links(store, secret="another", clock=clock)
    for wrong in (text[:-2], "x" + text, text.swapcase(), "", "a.b", "é", "A" * 5000):
        with pytest.raises(LinkInvalid):
            await links.read(wrong)
    with pytest.raises(LinkInvalid):
        await other.read(text)
    clock.at = 1010.0
    with pytest.raises(LinkInvalid, match="expired"):
        await links.read(text)


# -- the page behind a link


async def asked_over_http(server, payload, **more):
    """An execution that waits for a person, and a link to its question."""
    info = await begun(server.service, task("corral:approval", payload, **more))
    (question,) = (await server.service.flowing.engine.approvals("default", execution_id=info.id)).items
    made = await server.client.post(f"/v1/approvals/{question.id}/link")
    assert made.status_code == 201
    return info, made.json()


async def test_a_person_answers_behind_a_link(serve, app):
    server = await serve(app, workflows={"public_url": "https://corral.example/"})
    payload = {
        "message": "Refund <b>5 €</b>?",
        "choices": ["yes", "no & never"],
        "assignee": "ada",
        "details": {"for": "<script>"},
        "form": FORM,
    }
    info, made = await asked_over_http(server, payload)
    assert made["url"].startswith("https://corral.example/approvals/")
    path = made["url"].removeprefix("https://corral.example")
    page = await server.client.get(path)
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["cache-control"] == "no-store"
    assert "Refund &lt;b&gt;5 €&lt;/b&gt;?" in page.text
    assert "<script>" not in page.text
    assert 'value="no &amp; never"' in page.text
    assert 'name="form.amount"' in page.text
    assert (await server.client.get(path)).text == page.text, "looking changes nothing"

    wrong = await server.client.post(path, data={"decision": "yes", "form.amount": "many"})
    assert wrong.status_code == 400
    assert "amount: Expected a value of type number." in wrong.text

    answer = {"decision": "yes", "note": "fine", "form.amount": "5", "form.times": "2", "form.sure": "on"}
    answered = await server.client.post(path, data=answer)
    assert (answered.status_code, "This is answered: <strong>yes</strong>" in answered.text) == (200, True)
    assert (await over(server.service, info)).output == {
        "decision": "yes",
        "by": "ada",
        "note": "fine",
        "form": {"amount": 5.0, "reason": "none given", "times": 2, "sure": True},
    }
    late = await server.client.post(path, data={"decision": "no & never", "form.amount": "5"})
    assert late.status_code == 409
    assert "answered already" in late.text
    assert "This is answered" in (await server.client.get(path)).text


async def test_links_that_lead_nowhere(serve, app):
    server = await serve(app)
    info, made = await asked_over_http(server, {"message": "?"}, TimeoutSeconds=300)
    page = await server.client.get("/approvals/x" + made["url"].removeprefix("/approvals/"))
    assert (page.status_code, "never given out" in page.text) == (404, True)
    assert made["expires_at"] == pytest.approx(info.started_at + 300, abs=1)
    await server.service.flowing.engine.stop("default", info.id)
    assert "This is over." in (await server.client.get(made["url"])).text
    assert (await server.client.post(made["url"], data={"decision": "approve"})).status_code == 409
    assert (await server.client.post("/v1/approvals/nothing/link")).status_code == 404


async def test_nobody_makes_a_link_to_a_question_of_another_tenant(serve, app):
    keys = [{"key": f"key-of-{tenant}", "tenant": tenant} for tenant in ("default", "other")]
    server = await serve(app, security={"api_keys": keys})
    info = await begun(server.service, task("corral:approval", {"message": "?"}))
    (question,) = (await server.service.flowing.engine.approvals("default", execution_id=info.id)).items
    ours, theirs = (server.client_of(authorization=f"Bearer key-of-{tenant}") for tenant in ("default", "other"))
    async with ours, theirs:
        assert (await theirs.post(f"/v1/approvals/{question.id}/link")).status_code == 404
        made = await ours.post(f"/v1/approvals/{question.id}/link")
        assert made.status_code == 201
        page = await server.client.get(made.json()["url"])
        assert page.status_code == 200, "whoever has the link needs no key"
