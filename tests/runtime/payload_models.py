"""Typed payloads in a file that postpones its annotations, some of them for type checkers only."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any, NotRequired, Required, TypedDict

import msgspec

if TYPE_CHECKING:
    from somewhere import NotHere


class Row(TypedDict):
    id: Required[int]
    note: NotRequired[str]


class Question(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    first_prompt: str
    count: Annotated[int, msgspec.Meta(ge=1)] = 1
    rows: list[Row] = []


@dataclasses.dataclass
class Order:
    amount: int
    lines: list[Question] = dataclasses.field(default_factory=list)


class Pair(msgspec.Struct, array_like=True):
    left: int
    right: int


class Unknown:
    pass


@dataclasses.dataclass
class Odd:
    what: Unknown


def ask(payload: Question, context: NotHere): ...
def order(payload: Order): ...
def row(payload: Row): ...
def missing(payload: NotHere): ...
def nonsense(payload: "1 +"): ...  # noqa: F722 - what cannot be evaluated
def plain(payload: dict): ...
def text(payload: str): ...
def anything(payload: Any): ...
def listed(payload: list[Question]): ...
def bare(payload): ...
def second(other, payload: Question): ...


class Asker:
    def __call__(self, payload: Question): ...

    def ask(self, payload: Question): ...
