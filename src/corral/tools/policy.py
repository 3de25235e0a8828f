"""What tools may do: rules, read from the top, of which the first that fits decides; and why it did.

First match, and not the most specific: who reads the list knows what happens, and a rule that is put first is an exception to all
that follow. Beside the rules there are four gates that no rule can open: read-only mode, the roles a tool asks for, a Cedar
policy, and a tool's own wish for a person's yes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from fnmatch import translate
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

from corral.errors import ConfigError
from corral.messages import ToolCall
from corral.settings.policy_sections import ConditionSettings, PolicySettings, RuleSettings
from corral.tools.conditions import Condition

if TYPE_CHECKING:
    from corral.tools.tool import Tool

Ruled = Literal["allowed", "denied", "approval_required"]

_RULED: dict[str, Ruled] = {"allow": "allowed", "deny": "denied", "approve": "approval_required"}
READ_ONLY = "read-only mode"
ROLES = "roles of the tool"
TAINTED = "untrusted words"
APPROVAL = "approval of the tool"
DEFAULT = "default"
_OURS = frozenset({READ_ONLY, ROLES, TAINTED, APPROVAL, DEFAULT})


class Ruling(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided about a call, and how it came to that."""

    decision: Ruled
    rule: str
    """The name of the rule that decided."""
    reason: str = ""
    passed: tuple[tuple[str, str], ...] = ()
    """The rules before it, and why each did not fit."""

    def __str__(self) -> str:
        """A rule on each line, the one that decided last."""
        lines = [f"- {name}: does not fit, {why}" for name, why in self.passed]
        because = f", {self.reason}" if self.reason else ""
        return "\n".join([*lines, f"- {self.rule}: {self.decision.replace('_', ' ')}{because}"])


class Gate(Protocol):
    """Somebody else who must allow a call as well: a Cedar policy."""

    def denies(self, call: ToolCall, tool: Tool) -> Ruling | None:
        """Why not, or nothing."""
        ...


class Rule:
    """One rule. In code, `test` may ask for more than settings can say: it returns whether the rule is for this call."""

    __slots__ = ("_asked", "_conditions", "_despite", "_effects", "_test", "allowing", "decision", "name", "reason")

    def __init__(self, said: RuleSettings, *, test: Callable[[ToolCall], bool] | None = None) -> None:
        """Raises `ConfigError` for what could never be judged."""
        if said.name in _OURS:
            raise ConfigError(f"A rule cannot be named {said.name!r}: the house has one of that name.")
        if said.despite and said.decide != "allow":
            raise ConfigError(f"The rule {said.name!r} says `despite`, which only a rule that allows can mean.")
        self.name = said.name
        self.decision = _RULED[said.decide]
        self.allowing = said.decide == "allow"
        self.reason = said.reason
        self._effects = said.effects
        self._despite = _names(said.despite)
        self._conditions = [_condition(said.name, one) for one in said.when]
        self._test = test
        self._asked = [
            (what, pattern)
            for what in ("tools", "sources", "agents", "roles", "users", "tenants")
            if (pattern := _names(getattr(said, what))) is not None
        ]

    def misses(self, call: ToolCall, tool: Tool, arguments: dict[str, Any]) -> str:
        """Why the rule is not for this call, or nothing if it is."""
        for what, pattern in self._asked:
            known = _known(what, call, tool)
            if not any(pattern.match(one) for one in known):
                return f"it is for other {what}"
        effects = tool.marks.side_effects
        if self._effects is not None and self._effects != effects:
            return "the tool has side effects" if effects else "the tool changes nothing"
        for condition in self._conditions:
            if why := condition.fits(arguments, allowing=self.allowing):
                return why
        if self.allowing and effects and call.tainted:
            led_by = [one for one in call.tainted if self._despite is None or not self._despite.match(one)]
            if led_by:
                return f"the run has read untrusted words ({', '.join(led_by[:3])})"
        if self._test is not None and not self._test(call):
            return "its own test says no"
        return ""


class Policy:
    """All rules, and what holds where none fits. Deciding takes microseconds, and never fails."""

    def __init__(
        self,
        rules: Iterable[Rule | RuleSettings] = (),
        *,
        default: Literal["allow", "deny", "approve"] = "allow",
        tainted: Literal["approve", "deny", "allow"] = "approve",
        read_only: bool = False,
        gates: Sequence[Gate] = (),
    ) -> None:
        """Raises `ConfigError` for rules that share a name."""
        self.rules = [one if isinstance(one, Rule) else Rule(one) for one in rules]
        names = [rule.name for rule in self.rules]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ConfigError(f"Two rules are named {twice!r}: the audit could not say which one decided.")
        self.read_only = read_only
        self._default = _RULED[default]
        self._tainted = _RULED[tainted]
        self._gates = tuple(gates)
        reason = "" if self._default == "allowed" else "no rule allows it"
        self._without_rules = Ruling(decision=self._default, rule=DEFAULT, reason=reason)

    def decide(self, call: ToolCall, tool: Tool) -> Ruling:
        """What is done with this call, and by which rule."""
        ruling = self._closed(call, tool) or self._ruled(call, tool)
        if ruling.decision == "allowed" and tool.marks.approval:
            ruling = Ruling(
                decision="approval_required", rule=APPROVAL, reason="it asks for a person", passed=ruling.passed
            )
        if ruling.decision == "approval_required" and call.approved_by:
            reason = f"approved by {call.approved_by}"
            return Ruling(decision="allowed", rule=ruling.rule, reason=reason, passed=ruling.passed)
        return ruling

    explain = decide
    """`print(policy.explain(call, tool))` shows every rule, and why it did or did not fit."""

    def _closed(self, call: ToolCall, tool: Tool) -> Ruling | None:
        """The gates that no rule opens."""
        if self.read_only and tool.marks.side_effects:
            return Ruling(decision="denied", rule=READ_ONLY, reason="nothing may be changed now")
        if tool.marks.permissions:
            missing = [role for role in tool.marks.permissions if role not in call.caller.roles]
            if missing:
                return Ruling(decision="denied", rule=ROLES, reason=f"the caller is no {', no '.join(missing)}")
        for gate in self._gates:
            if (ruling := gate.denies(call, tool)) is not None:
                return ruling
        return None

    def _ruled(self, call: ToolCall, tool: Tool) -> Ruling:
        passed: list[tuple[str, str]] = []
        arguments = _with_defaults(call.input, tool) if self.rules else call.input
        for rule in self.rules:
            try:
                why = rule.misses(call, tool, arguments)
            except Exception as error:  # noqa: BLE001 - a test in code may raise anything; what cannot be judged counts against the call
                why = f"its test failed: {type(error).__name__}" if rule.allowing else ""
            if not why:
                return Ruling(decision=rule.decision, rule=rule.name, reason=rule.reason, passed=tuple(passed))
            passed.append((rule.name, why))
        if call.tainted and tool.marks.side_effects and self._tainted != "allowed":
            reason = f"the run has read words that nobody of ours wrote ({', '.join(call.tainted[:3])})"
            return Ruling(decision=self._tainted, rule=TAINTED, reason=reason, passed=tuple(passed))
        if not passed:
            return self._without_rules
        return msgspec.structs.replace(self._without_rules, passed=tuple(passed))


def policy_of(settings: PolicySettings, more: Iterable[Rule] = ()) -> Policy:
    """The policy that settings describe; rules of code come after those of the operator."""
    gates: list[Gate] = []
    if settings.cedar:
        from corral.tools.cedar import CedarGate  # noqa: PLC0415 - an extra

        gates.append(CedarGate.from_file(settings.cedar))
    return Policy(
        [*(Rule(one) for one in settings.rules), *more],
        default=settings.default,
        tainted=settings.tainted,
        read_only=settings.read_only,
        gates=gates,
    )


def _condition(rule: str, said: ConditionSettings) -> Condition:
    try:
        return Condition(said)
    except ConfigError as error:
        raise ConfigError(f"The rule {rule!r} cannot be read: {error}") from None


def _names(globs: Sequence[str]) -> re.Pattern[str] | None:
    return re.compile("|".join(translate(glob) for glob in globs)) if globs else None


def _known(what: str, call: ToolCall, tool: Tool) -> tuple[str, ...]:
    caller = call.caller
    if what == "tools":
        return (tool.name,)
    if what == "sources":
        return (tool.marks.source,)
    if what == "roles":
        return caller.roles
    return ({"agents": caller.agent, "users": caller.user_id, "tenants": caller.tenant}[what],)


def _with_defaults(given: dict[str, Any], tool: Tool) -> dict[str, Any]:
    """The arguments, and those that the tool will fill in by itself."""
    known = tool.spec.parameters.get("properties", {})
    filled = {
        name: schema["default"]
        for name, schema in known.items()
        if name not in given and isinstance(schema, dict) and "default" in schema
    }
    return {**filled, **given} if filled else given
