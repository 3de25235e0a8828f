"""`/v1/events`: events are published, and rules say what begins when one comes. The tenant is always the credential's."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from corral.errors import ValidationFailed
from corral.jobs.request import MOMENT_MAX, check_fields, fault
from corral.observability.traces import traceparent
from corral.security.roles import check_lasting
from corral.server.described import described_routes
from corral.server.event_api import DESCRIPTIONS, EVENTS_MAX
from corral.server.http import Request
from corral.server.job_query import word
from corral.server.routes import Route
from corral.workflows.matching import check_pattern, matches
from corral.workflows.topic_store import EventRule, Target
from corral.workflows.topics import TOPIC_DEFAULT, Event, Published, Topics, check_name

_EVENT = ("detail_type", "source", "topic", "detail", "id", "time", "resources")
_RULE = ("topic", "pattern", "targets", "description", "paused")
_TARGET = ("workflow", "job", "input", "input_path")
_RESOURCES_MAX = 100
_DESCRIPTION_MAX = 1000
_PATH_MAX = 256


class EventRoutes:
    """Handlers of `/v1/events`."""

    def __init__(self, topics: Topics) -> None:
        """`topics` begin what is to begin."""
        self._topics = topics

    def routes(self) -> list[Route]:
        """All of them; what each one says of itself stands in `event_api.py`."""
        return described_routes(
            {
                "POST /v1/events": self.publish,
                "POST /v1/events/match": self.match,
                "GET /v1/events/rules": self.list_rules,
                "GET /v1/events/rules/{name}": self.show_rule,
                "PUT /v1/events/rules/{name}": self.save_rule,
                "DELETE /v1/events/rules/{name}": self.remove_rule,
            },
            DESCRIPTIONS,
        )

    async def publish(self, request: Request) -> None:
        """`POST /v1/events`."""
        context = request.context
        published = await self._topics.publish(
            context.tenant, _events(await request.json()), traceparent=traceparent(context)
        )
        await request.respond_json({"items": [_shown_published(one) for one in published]}, 202)

    async def match(self, request: Request) -> None:
        """`POST /v1/events/match`."""
        body = check_fields(await request.json(), ("pattern", "event"))
        event = body.get("event")
        if not isinstance(event, dict):
            raise fault("/event", "`event` is an object, as a subscriber would get it.")
        pattern = check_pattern(body.get("pattern"))
        await request.respond_json({"matches": matches(pattern, event)})

    async def list_rules(self, request: Request) -> None:
        """`GET /v1/events/rules`, by name."""
        given = check_fields(dict(request.query), ("topic",))
        topic = check_name("topic", given["topic"]) if "topic" in given else None
        found = await self._topics.rules(request.context.tenant, topic=topic)
        await request.respond_json({"items": [_shown_rule(rule) for rule in found]})

    async def show_rule(self, request: Request) -> None:
        """`GET /v1/events/rules/{name}`."""
        await request.respond_json(_shown_rule(await self._topics.rule(request.context.tenant, request.params["name"])))

    async def save_rule(self, request: Request) -> None:
        """`PUT /v1/events/rules/{name}`: make or replace."""
        check_lasting(request.context.scope)
        rule = _rule(request.context.tenant, request.params["name"], await request.json())
        kept, is_new = await self._topics.save(rule)
        await request.respond_json(_shown_rule(kept), 201 if is_new else 200)

    async def remove_rule(self, request: Request) -> None:
        """`DELETE /v1/events/rules/{name}`."""
        await self._topics.remove(request.context.tenant, request.params["name"])
        await request.respond_nothing()


# -- asked ------------------------------------------------------------------------------------------------------------------


def _events(body: Any) -> list[Event]:
    if not isinstance(body, dict) or "events" not in body:
        return [_event(body, "")]
    given = check_fields(body, ("events",))["events"]
    if not isinstance(given, list) or not 1 <= len(given) <= EVENTS_MAX:
        raise fault("/events", f"`events` is a list of 1 to {EVENTS_MAX} events.")
    return [_event(one, f"/events/{at}") for at, one in enumerate(given)]


def _event(body: Any, pointer: str) -> Event:
    given = check_fields(body, _EVENT, pointer)
    detail, resources = given.get("detail", {}), given.get("resources", [])
    if not isinstance(detail, dict):
        raise fault(f"{pointer}/detail", "`detail` is an object.")
    if not isinstance(resources, list) or len(resources) > _RESOURCES_MAX:
        raise fault(f"{pointer}/resources", f"`resources` is a list of at most {_RESOURCES_MAX} names.")
    time = given.get("time")
    if "time" in given and not _is_moment(time):
        raise fault(f"{pointer}/time", "`time` is a time in seconds since 1970, up to the year 3000.")
    return Event(
        detail_type=_text(given, "detail_type", None, pointer),
        source=_text(given, "source", "corral", pointer),
        topic=check_name("topic", _text(given, "topic", TOPIC_DEFAULT, pointer)),
        detail=detail,
        id=_text(given, "id", "", pointer),
        time=time,
        resources=tuple(_text({"resources": one}, "resources", None, pointer) for one in resources),
    )


def _is_moment(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and 0 <= value <= MOMENT_MAX


def _text(given: dict[str, Any], name: str, default: str | None, pointer: str) -> str:
    if default is not None and name not in given:
        return default
    try:
        said = word(name, given.get(name))
    except ValidationFailed as error:
        raise fault(f"{pointer}/{name}", error.message) from None
    if said is None:
        raise fault(f"{pointer}/{name}", f"`{name}` is missing: a text of 1 to 256 characters.")
    return said


def _rule(tenant: str, name: str, body: Any) -> EventRule:
    given = check_fields(body, _RULE)
    targets, paused, description = given.get("targets"), given.get("paused", False), given.get("description", "")
    if not isinstance(targets, list):
        raise fault("/targets", "`targets` is a list of what begins, each a `workflow` or a `job`.")
    if not isinstance(paused, bool):
        raise fault("/paused", "`paused` is true or false.")
    if not isinstance(description, str) or len(description) > _DESCRIPTION_MAX:
        raise fault("/description", f"`description` is a text of at most {_DESCRIPTION_MAX} characters.")
    return EventRule(
        tenant=tenant,
        name=name,
        topic=check_name("topic", _text(given, "topic", TOPIC_DEFAULT, "")),
        pattern=check_pattern(given.get("pattern", {})),
        targets=tuple(_target(one, f"/targets/{at}") for at, one in enumerate(targets)),
        description=description,
        paused=paused,
    )


def _target(body: Any, pointer: str) -> Target:
    given = check_fields(body, _TARGET, pointer)
    path = given.get("input_path", "$")
    if not isinstance(path, str) or not 0 < len(path) <= _PATH_MAX:
        raise fault(f"{pointer}/input_path", "`input_path` is a path into the event, such as `$.detail`.")
    job = given.get("job", {})
    if not isinstance(job, dict):
        raise fault(f"{pointer}/job", "`job` is what `POST /v1/jobs` takes, without an input.")
    return Target(
        workflow=_text(given, "workflow", "", pointer),
        job=job,
        input=given.get("input", msgspec.UNSET),
        input_path=path,
    )


# -- shown ------------------------------------------------------------------------------------------------------------------


def _shown_rule(rule: EventRule) -> dict[str, Any]:
    view = {name: getattr(rule, name) for name in rule.__struct_fields__ if name != "tenant"}
    return view | {"targets": [_shown_target(target) for target in rule.targets]}


def _shown_target(target: Target) -> dict[str, Any]:
    view = {"workflow": target.workflow or None, "job": target.job or None, "input_path": target.input_path}
    return view if target.input is msgspec.UNSET else view | {"input": target.input}


def _shown_published(published: Published) -> dict[str, Any]:
    begun = [
        {
            "rule": one.rule,
            "workflow": one.workflow or None,
            "job_id": one.job or None,
            "is_new": one.is_new,
            "error": one.error or None,
        }
        for one in published.begun
    ]
    return {"id": published.id, "begun": begun}
