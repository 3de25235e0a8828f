"""The names of things as Step Functions forms them: written from parts, and taken apart again.

A name of a state machine may carry a qualifier, a version's number or an alias: `…:stateMachine:NAME:3`, `…:stateMachine:NAME:LIVE`.
What is looked up is always the tenant's own, by its whole ARN.
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from corral.errors import BadRequest

Kind = Literal["stateMachine", "execution", "express", "activity", "mapRun"]

NAME_MAX = 80
LABEL_MAX = 40
_FORBIDDEN = re.compile(r"[\s?*<>{}\[\]:;,\\|^~$#%&`\"\x00-\x1f\x7f-\x9f\ufffe\uffff\ud800-\udfff/]")
_PREFIX = re.compile(
    r"arn:(?P<partition>aws[\w-]*):states:(?P<region>[\w-]*):(?P<account>\d*):(?P<kind>\w+):(?P<rest>.+)", re.DOTALL
)
_VERSION = re.compile(r"[1-9]\d*")
_FORMS = {
    "stateMachine": re.compile(r"(?P<name>[^:]+)(?::(?P<qualifier>[^:]+))?"),
    "activity": re.compile(r"(?P<name>[^:]+)"),
    "execution": re.compile(r"(?P<name>[^:]+):(?P<execution>[^:]+)"),
    "express": re.compile(r"(?P<name>[^:]+):(?P<execution>[^:]+):(?P<nonce>[^:]+)"),
    "mapRun": re.compile(r"(?P<name>[^:/]+)/(?P<qualifier>[^:]+):(?P<execution>[^:]+)"),
}


class ArnInvalid(BadRequest):
    """This is no ARN that fits here."""

    code = "invalid_arn"


def is_name(text: str) -> bool:
    """Whether something may be named so: 1 to 80 characters, none that is white, a control or one of the forbidden."""
    return 0 < len(text) <= NAME_MAX and _FORBIDDEN.search(text) is None


class Arn(msgspec.Struct, frozen=True, kw_only=True):
    """An ARN, taken apart."""

    text: str
    kind: Kind
    name: str
    """Of the state machine or the activity; of an execution or a map run: the state machine's."""
    qualifier: str = ""
    """Of a state machine: the version's number or the alias; of a map run: the label."""
    execution: str = ""
    """The name of an execution; of a map run, its id."""
    nonce: str = ""
    """Of an express execution: what makes its name unique."""

    @property
    def version(self) -> int | None:
        """The version it names, where it names one."""
        return int(self.qualifier) if self.kind == "stateMachine" and _VERSION.fullmatch(self.qualifier) else None

    @property
    def alias(self) -> str:
        """The alias it names, where it names one."""
        return self.qualifier if self.kind == "stateMachine" and self.version is None else ""

    @property
    def unqualified(self) -> str:
        """The state machine's own ARN, without version and alias."""
        return self.text[: -len(self.qualifier) - 1] if self.kind == "stateMachine" and self.qualifier else self.text

    @property
    def state_machine(self) -> str:
        """The ARN of the state machine that this belongs to, without qualifier."""
        head = ":".join(self.text.split(":")[:5])
        return f"{head}:stateMachine:{self.name}"


def parse(text: str, *kinds: Kind) -> Arn:
    """Take an ARN of one of these kinds apart; any kind where none is named. Raises `ArnInvalid`."""
    found = _PREFIX.fullmatch(text)
    if found is None:
        raise ArnInvalid(f"Invalid Arn: 'Invalid ARN prefix: {text}'")
    form = _FORMS.get(found["kind"])
    if form is None or (kinds and found["kind"] not in kinds):
        raise ArnInvalid(f"Invalid Arn: 'Resource type not valid in this context: {found['kind']}'")
    rest = form.fullmatch(found["rest"])
    if rest is None:
        raise ArnInvalid(f"Invalid Arn: 'Invalid ARN: {text}'")
    return msgspec.convert({"text": text, "kind": found["kind"], **rest.groupdict("")}, Arn)


class Arns:
    """ARNs in the region and the account that the settings name."""

    def __init__(self, *, region: str, account: str) -> None:
        """Both are only names: nothing is asked of anybody."""
        self.region = region
        self.account = account
        self._prefix = f"arn:aws:states:{region}:{account}"

    def state_machine(self, name: str, qualifier: str | int = "") -> str:
        """Of a state machine, or of one of its versions or aliases."""
        return f"{self._prefix}:stateMachine:{name}" + (f":{qualifier}" if qualifier != "" else "")

    def execution(self, machine: str, name: str) -> str:
        """Of an execution."""
        return f"{self._prefix}:execution:{machine}:{name}"

    def express(self, machine: str, name: str, nonce: str) -> str:
        """Of an express execution: its name alone need not be unique."""
        return f"{self._prefix}:express:{machine}:{name}:{nonce}"

    def activity(self, name: str) -> str:
        """Of an activity."""
        return f"{self._prefix}:activity:{name}"

    def map_run(self, machine: str, label: str, run: str) -> str:
        """Of one run of a distributed Map."""
        return f"{self._prefix}:mapRun:{machine}/{label}:{run}"
