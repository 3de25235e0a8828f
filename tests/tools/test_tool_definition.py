"""What `@tool` makes of a function: what a model is told, and what it may say."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import enum
import functools
from typing import TYPE_CHECKING, Annotated, Any, Literal, NotRequired, TypedDict

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral import Context, Toolbox, tool
from corral.errors import ConfigError
from corral.messages import ToolCall
from corral.tools.arguments import Misfit
from corral.tools.docstrings import read_docstring
from corral.tools.tool import Tool, as_tool, made_tool

if TYPE_CHECKING:
    from decimal import Decimal


NOTHING = object()


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass
class Address:
    city: str
    zip: int = 1


class Order(msgspec.Struct):
    items: list[str]
    to: Address | None = None


class Range(TypedDict):
    low: int
    high: NotRequired[int]


class Point(pydantic.BaseModel):
    x: int
    inner: Point | None = None


@tool
async def everything(  # noqa: PLR0913, PLR0917 - one of each kind
    text: str,
    number: int,
    share: float = 0.5,
    yes: bool = False,
    colour: Colour = Colour.RED,
    kind: Literal["a", "b"] = "a",
    address: Address | None = None,
    order: Order | None = None,
    span: Range | None = None,
    points: list[Point] | None = None,
    when: dt.date | None = None,
    table: dict[str, list[int]] | None = None,
    either: int | str = 3,
    anything: Any = None,
    bounded: Annotated[int, msgspec.Meta(ge=1, le=9)] = 1,
) -> dict[str, int]:
    """Take one of each kind."""
    return {}


def test_what_a_model_is_told():
    @tool(read_only=True)
    def look(ticket_id: str, n: int = 3) -> str:
        """Look a ticket up.

        Args:
            ticket_id (str): as printed,
                with its letter
            n: how many
        """
        return ""

    assert look.name == "look"
    assert look.description == "Look a ticket up."
    assert look.spec.parameters == {
        "type": "object",
        "properties": {
            "ticket_id": {"type": "string", "description": "as printed, with its letter"},
            "n": {"type": "integer", "description": "how many", "default": 3},
        },
        "required": ["ticket_id"],
        "additionalProperties": False,
    }
    assert look.returns == {"type": "string"}
    assert look.marks.read_only
    assert look.marks.repeatable
    assert not look.marks.side_effects
    assert repr(look) == "Tool('look')"


def test_every_kind_has_a_schema():
    schema = everything.spec.parameters
    properties = schema["properties"]
    assert list(properties)[:3] == ["text", "number", "share"]
    assert schema["required"] == ["text", "number"]
    assert properties["kind"] == {"enum": ["a", "b"], "default": "a"}
    assert properties["colour"]["default"] == "red"
    assert properties["bounded"] == {"type": "integer", "minimum": 1, "maximum": 9, "default": 1}
    assert set(schema["$defs"]) >= {"Address", "Order", "Range", "Point", "Colour"}
    for reference in _references(schema):
        assert reference.removeprefix("#/$defs/") in schema["$defs"]
    assert everything.returns == {"type": "object", "additionalProperties": {"type": "integer"}}


def _references(part):
    if isinstance(part, dict):
        if "$ref" in part:
            yield part["$ref"]
        for one in part.values():
            yield from _references(one)
    elif isinstance(part, list):
        for one in part:
            yield from _references(one)


def test_arguments_are_converted_once():
    read = everything.read(
        {
            "text": "x",
            "number": "3",
            "yes": "true",
            "colour": "blue",
            "address": {"city": "Bonn", "zip": "53"},
            "order": '{"items": ["a"], "to": {"city": "Ulm"}}',
            "span": {"low": 1},
            "points": [{"x": "1", "inner": {"x": 2}}],
            "when": "2026-11-21",
            "table": '{"a": [1, 2]}',
            "either": "4",
        }
    )
    assert read["number"] == 3
    assert read["yes"] is True
    assert read["colour"] is Colour.BLUE
    assert read["address"] == Address("Bonn", 53)
    assert read["order"] == Order(["a"], Address("Ulm"))
    assert read["points"] == [Point(x=1, inner=Point(x=2))]
    assert read["when"] == dt.date(2026, 11, 21)
    assert read["table"] == {"a": [1, 2]}
    assert read["either"] == "4"
    assert "share" not in read  # the function's own default holds


def test_every_fault_is_said():
    with pytest.raises(Misfit) as misfit:
        everything.read({"nmuber": 3, "address": {"city": 1}, "points": [{"x": "q"}], "bounded": 99, "table": "{no"})
    assert misfit.value.faults == [
        "`text` is missing.",
        "`number` is missing.",
        "`address.city`: Expected `str`, got `int`.",
        "`points[0]`: `x`: Input should be a valid integer, unable to parse string as an integer.",
        "`table`: Expected `object | null`, got `str`.",
        "`bounded`: Expected `int` <= 9.",
        "There is no `nmuber`: did you mean `number`?",
    ]
    with pytest.raises(Misfit, match=r"There is no `zzzz`\.$"):
        everything.read({"text": "", "number": 1, "zzzz": 1})


@given(st.data())
def test_what_fits_the_schema_is_taken_and_comes_out_the_same(data):
    values = {
        "text": st.text(),
        "number": st.integers(-(2**53), 2**53),
        "share": st.floats(allow_nan=False, allow_infinity=False),
        "yes": st.booleans(),
        "colour": st.sampled_from(["red", "blue"]),
        "kind": st.sampled_from(["a", "b"]),
        "address": st.fixed_dictionaries({"city": st.text(), "zip": st.integers(0, 99999)}),
        "span": st.fixed_dictionaries({"low": st.integers(0, 9)}, optional={"high": st.integers(0, 9)}),
        "points": st.lists(st.fixed_dictionaries({"x": st.integers(0, 9), "inner": st.none()})),
        "table": st.dictionaries(st.text(), st.lists(st.integers(0, 9))),
        "bounded": st.integers(1, 9),
    }
    given = data.draw(
        st.fixed_dictionaries(
            {name: values[name] for name in ("text", "number")},
            optional={name: value for name, value in values.items() if name not in {"text", "number"}},
        )
    )
    read = everything.read(given)
    from corral.tools.signature import plain

    assert msgspec.to_builtins(read, enc_hook=plain) == given
    assert everything.read(msgspec.to_builtins(read, enc_hook=plain)) == read


_LOOSE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(list(everything.spec.parameters["properties"])) | st.text(), _LOOSE))
def test_whatever_a_model_says_is_taken_or_a_misfit(said):
    with contextlib.suppress(Misfit):
        everything.read(said)


# -- what is filled in here ---------------------------------------------------------------------------------------------


async def test_context_and_call_are_filled_in_and_no_model_hears_of_them():
    seen = {}

    @tool
    async def pay(amount: int, context: Context, call: ToolCall | None = None) -> str:
        seen.update(tenant=context.tenant, user=context.user_id, key=call.idempotency_key)
        return "paid"

    assert list(pay.spec.parameters["properties"]) == ["amount"]
    from corral.messages import Caller

    reply = await Toolbox([pay]).call(
        ToolCall(
            name="pay", input={"amount": 3}, caller=Caller(tenant="acme", user_id="ada"), idempotency_key="k-context"
        )
    )
    assert reply.value == "paid"
    assert seen == {"tenant": "acme", "user": "ada", "key": "k-context"}
    with pytest.raises(Misfit, match="no `context`"):
        pay.read({"amount": 1, "context": {}})


async def test_a_context_that_is_imported_for_type_checkers_only_is_known_by_its_name():
    def look(a: int, ctx): ...

    look.__annotations__ = {"a": "int", "ctx": "Context | None"}
    made = made_tool(look, around={})
    assert list(made.spec.parameters["properties"]) == ["a"]

    look.__annotations__ = {"a": "int", "ctx": "ToolCall"}
    look.__globals__.pop("Nothing", None)
    assert list(made_tool(look, around={}).spec.parameters["properties"]) == ["a"]


def test_types_of_where_it_is_defined_are_found():
    @dataclasses.dataclass
    class Inside:
        a: int

    @tool
    def look(one: Inside) -> Inside:
        return one

    assert look.read({"one": {"a": 1}}) == {"one": Inside(1)}


def test_a_type_that_is_not_there_is_said_when_the_tool_is_made():
    def look(one: Decimal): ...

    with pytest.raises(ConfigError, match="import it where the program runs"):
        tool(look)


def test_without_types_anything_goes():
    @tool
    def look(a, b=NOTHING): ...

    assert look.spec.parameters["properties"] == {"a": {}, "b": {}}
    assert look.read({"a": [1]}) == {"a": [1]}


async def test_functions_of_all_kinds():
    class Crm:
        def __init__(self, name):
            self.name = name

        @tool
        async def lookup(self, customer: str) -> str:
            """Look a customer up."""
            return f"{self.name}:{customer}"

        async def plain(self, a: int) -> int:
            return a

    class Callable:
        """Adds."""

        def __call__(self, a: int, b: int) -> int:
            return a + b

    def positional(a: int, b: int = 2, /, c: int = 3) -> list[int]:
        return [a, b, c]

    async def power(base: int, exponent: int) -> int:
        return base**exponent

    crm = Crm("main")
    square = tool(name="square")(functools.partial(power, exponent=2))
    box = Toolbox([crm.lookup, tool(name="plain")(crm.plain), tool(name="add")(Callable()), positional, square])
    assert box.find("lookup").spec.parameters["required"] == ["customer"]
    assert box.find("lookup").description == "Look a customer up."
    assert box.find("add").description == "Adds."
    assert (await box.use("lookup", customer="x")).value == "main:x"
    assert (await box.use("plain", a=1)).value == 1
    assert (await box.use("add", a=1, b="2")).value == 3
    assert (await box.use("positional", a=1)).value == [1, 2, 3]
    assert (await box.use("positional", a=1, b=5, c=6)).value == [1, 5, 6]
    assert (await box.use("square", base=3)).value == 9
    assert await crm.lookup("y") == "main:y"  # as the function it was
    assert isinstance(Crm.lookup, Tool)


async def test_a_tool_is_still_its_function():
    @tool
    def double(n: int) -> int:
        """Double."""
        return n * 2

    assert double(4) == 8
    assert double.__doc__ == "Double."
    assert as_tool(double) is double
    other = double.marked(approval=True)
    assert other.marks.approval
    assert not double.marks.approval
    assert other(4) == 8
    with pytest.raises(ConfigError, match="call it through a Toolbox"):
        Tool(double.spec, lambda arguments, call: None)()


@pytest.mark.parametrize(
    ("marks", "said"),
    [
        ({"retries": 2}, "neither idempotent nor read_only"),
        ({"cache_ttl_s": 5}, "not read_only"),
        ({"cache_ttl_s": 5, "idempotent": True}, "not read_only"),
        ({"timeout_s": 0}, "timeout_s=0"),
        ({"concurrency": 0}, "concurrency=0"),
        ({"cache_scope": "planet"}, "planet"),
        ({"retries": -1, "idempotent": True}, "below zero"),
        ({"name": "no spaces please"}, "no spaces please"),
        ({"name": "x" * 65}, "64"),
    ],
)
def test_marks_that_contradict_each_other_are_refused_when_the_tool_is_made(marks, said):
    with pytest.raises(ConfigError, match=said):
        tool(**{"name": "look", **marks})(lambda: None)


def test_what_no_model_could_call_is_refused():
    async def yields():
        yield 1

    def star(*args): ...

    def stars(**kwargs): ...

    def odd(a: int | Address | Order): ...

    for fn, said in (
        (yields, "yields"),
        (star, r"\*args"),
        (stars, r"\*\*kwargs"),
        (odd, "JSON does not know"),
        (3, "callable"),
        (lambda: None, "letters"),
    ):
        with pytest.raises(ConfigError, match=said):
            tool(fn)
    with pytest.raises(TypeError):
        tool(time_out=3)(star)


def test_permissions_are_names():
    assert tool(permissions="admin")(test_permissions_are_names).marks.permissions == ("admin",)
    assert tool(permissions=["a", "b"])(test_permissions_are_names).marks.permissions == ("a", "b")


def test_a_toolbox_has_a_name_once():
    @tool
    def look(): ...

    box = Toolbox([look, look])
    assert len(box) == 1
    assert "look" in box
    assert [spec.name for spec in box.specs()] == ["look"]
    with pytest.raises(ConfigError, match="two tools named 'look'"):
        box.add(tool(name="look")(lambda: None))


# -- docstrings -----------------------------------------------------------------------------------------------------------


def documented(text):
    def fn(): ...

    fn.__doc__ = text
    return read_docstring(fn)


def test_googles_way():
    doc = documented(
        """Do it.

        Twice: that is how it is.

        Args:
            a: the first, which
                goes on: here
            b (int, optional): the second
            *rest: the others

        Raises:
            ValueError: never

        Example:
            >>> do()

        Returns:
            What came
            of it.
        """
    )
    assert doc.said == "Do it.\n\nTwice: that is how it is.\n\nReturns: What came of it."
    assert doc.parameters == {"a": "the first, which goes on: here", "b": "the second", "rest": "the others"}


def test_numpys_way():
    doc = documented(
        """Do it.

        Parameters
        ----------
        a : int
            The first,
            in two lines.
        x, y : float, optional
            Both.

        Returns
        -------
        str
            The name.
        """
    )
    assert doc.said == "Do it.\n\nReturns: str The name."
    assert doc.parameters == {"a": "The first, in two lines.", "x": "Both.", "y": "Both."}


def test_sphinxs_way():
    doc = documented(
        """Do it.

        :param a: the first,
            in two lines
        :param int b: the second
        :type b: int
        :raises ValueError: never
        :return: the name
        """
    )
    assert doc.said == "Do it.\n\nReturns: the name"
    assert doc.parameters == {"a": "the first, in two lines", "b": "the second"}


@pytest.mark.parametrize("text", ["", "One line.", "Several\n\nlines.\n\n  indented", "Args:"])
def test_no_way_at_all_is_a_description(text):
    doc = documented(text)
    assert doc.parameters == {}
    assert doc.said == ("" if text.startswith("Args") else text.strip())


@given(st.text())
def test_any_docstring_is_read(text):
    documented(text)
