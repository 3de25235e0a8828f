"""Evaluates what the library read, within bounds. Imported only where JSONata is used.

The library goes through the tree by `eval`, which is replaced here: every part is counted, and what it makes is weighed. Operators
that could do much in one go, or that are wrong in the library, are replaced as well, and so are its functions
(`jsonata_functions.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from corral.workflows.language.jsonata_bounds import DEPTH_MAX, ITEMS_MAX, Bounds, too_big, too_deep
from corral.workflows.language.jsonata_functions import FRAME
from corral.workflows.language.jsonata_library import Functions, JException, Jsonata, Utils
from corral.workflows.language.jsonata_values import cloned, number_of, same, text_of


class Evaluation(Jsonata):  # type: ignore[misc]  # the library has no types
    """One evaluation of one expression."""

    def __init__(self, *, chance: Callable[[], float], now: float) -> None:
        """Does not read anything: the library's own constructor would."""
        self.parser = Jsonata.get_parser()
        self.bounds = Bounds()
        self.chance = chance
        self.timestamp = int(now * 1000)
        self.input = None
        self.environment = FRAME
        self.errors = None

    def run(self, tree: Any, names: dict[str, Any]) -> Any:
        """What the expression gives: `None` is undefined. Raises the library's errors, and `OverBounds`."""
        frame = _Frame(FRAME)
        frame.bindings = names
        before = getattr(Jsonata.CURRENT, "jsonata", None)
        Jsonata.CURRENT.jsonata = self
        try:
            return self.eval(tree, None, frame)
        except RecursionError:
            raise too_deep() from None
        finally:
            Jsonata.CURRENT.jsonata = before

    def eval(self, expr: Any, input: Any, environment: Any) -> Any:  # noqa: A002 - the library's name
        """One part of the tree."""
        bounds = self.bounds
        bounds.step()
        kind = expr.type
        handler = _HANDLERS.get(kind)
        result = None
        if handler is not None:
            if bounds.depth > DEPTH_MAX:
                raise too_deep()
            bounds.depth += 1
            try:
                result = handler(self, expr, input, environment)
            finally:
                bounds.depth -= 1
        elif kind == "variable":
            result = environment.lookup(expr.value) if expr.value else _outermost(input)
        elif kind in _LITERALS:
            result = Utils.NULL_VALUE if expr.value is None else expr.value
        elif kind == "parent":
            result = environment.lookup(expr.slot.label)
        if expr.predicate is not None:
            for item in expr.predicate:
                result = self.evaluate_filter(item.expr, result, environment)
        if kind != "path" and expr.group is not None:
            result = self.evaluate_group_expression(expr.group, result, environment)
            bounds.made(result)
        elif kind in _MAKERS and not expr.thunk and (kind != "path" or isinstance(result, Utils.JList)):
            bounds.made(result)
        return self._collapsed(expr, result) if isinstance(result, Utils.JList) else result

    def _collapsed(self, expr: Any, result: Any) -> Any:
        if not result.sequence or result.tuple_stream:
            return result
        if expr.keep_array:
            result.keep_singleton = True
        if not result:
            return None
        return result[0] if len(result) == 1 and not result.keep_singleton else result

    def create_frame(self, enclosing_environment: Any = None) -> Any:
        """Where names are bound, inside of another."""
        return _Frame(enclosing_environment)

    def get_per_thread_instance(self) -> Evaluation:
        """Nobody else runs this one."""
        return self

    def apply_inner(self, proc: Any, args: Any, input: Any, environment: Any) -> Any:  # noqa: A002 - the library's name
        """Call something."""
        if Functions.is_lambda(proc):
            if proc.signature is not None and len(args) > len(proc.arguments) + 8:
                raise JException("T0410", -1, len(proc.arguments) + 1, "")
            return self.apply_procedure(proc, self.validate_arguments(proc, args, input))
        if not self.is_function_like(proc):
            raise JException("T1006", 0)
        return super().apply_inner(proc, args, input, environment)

    def evaluate_step(self, expr: Any, input: Any, environment: Any, last_step: bool) -> Any:  # noqa: A002 - the library's name
        """One step of a path over all that was found: what several give together is counted before it is put together."""
        if expr.type == "sort":
            return super().evaluate_step(expr, input, environment, last_step)
        found: list[Any] = []
        count = 0
        for one in input:
            result = self.eval(expr, one, environment)
            for stage in expr.stages or ():
                result = self.evaluate_filter(stage.expr, result, environment)
            if result is not None:
                found.append(result)
                count += len(result) if isinstance(result, list) else 1
                if count > ITEMS_MAX:
                    raise too_big(f"an array has at most {ITEMS_MAX} items")
        if last_step and len(found) == 1 and isinstance(found[0], list) and not Utils.is_sequence(found[0]):
            return found[0]
        flat = Utils.create_sequence()
        for result in found:
            if isinstance(result, list) and not (isinstance(result, Utils.JList) and result.cons):
                flat.extend(result)
            else:
                flat.append(result)
        return flat

    def evaluate_tuple_step(self, expr: Any, input: Any, tuple_bindings: Any, environment: Any) -> Any:  # noqa: A002 - as above
        """A step that joins, such as `$orders@$o.$lines@$l`: each combination is counted."""
        if expr.type == "sort":
            return super().evaluate_tuple_step(expr, input, tuple_bindings, environment)
        made = Utils.create_sequence()
        made.tuple_stream = True
        for binding in [{"@": one} for one in input] if tuple_bindings is None else tuple_bindings:
            found = self.eval(expr, binding["@"], self.create_frame_from_tuple(environment, binding))
            if found is None:
                continue
            members = found if isinstance(found, list) else [found]
            self.bounds.items(len(made) + len(members), each=0)
            self.bounds.items(len(members), each=300)
            streams = isinstance(found, Utils.JList) and found.tuple_stream
            made.extend(
                {**binding, **(one if streams else _joined(expr, binding, place, one))}
                for place, one in enumerate(members)
            )
        return made if expr.stages is None else self.evaluate_stages(expr.stages, made, environment)

    def create_frame_from_tuple(self, environment: Any, tuple: Any) -> Any:  # noqa: A002 - the library's name
        """One frame for each combination that a join makes."""
        self.bounds.step()
        return super().create_frame_from_tuple(environment, tuple)

    def evaluate_numeric_expression(self, lhs: Any, rhs: Any, op: Any) -> Any:
        """`+ - * / %`, as floats, and whole results as integers."""
        if lhs is not None and not Utils.is_numeric(lhs):
            raise JException("T2001", -1, op, lhs)
        if rhs is not None and not Utils.is_numeric(rhs):
            raise JException("T2002", -1, op, rhs)
        if lhs is None or rhs is None:
            return None
        left, right = float(lhs), float(rhs)
        if op in {"/", "%"} and right == 0:
            raise JException("D1001", 0, "Infinity" if left and op == "/" else "NaN")
        return number_of(_ARITHMETIC[op](left, right))

    def evaluate_equality_expression(self, lhs: Any, rhs: Any, op: Any) -> Any:
        """`=` and `!=`: deep, and nothing equals what is undefined."""
        if lhs is None or rhs is None:
            return False
        return same(lhs, rhs) is (op == "=")

    def evaluate_includes_expression(self, lhs: Any, rhs: Any) -> Any:
        """`in`."""
        if lhs is None or rhs is None:
            return False
        for number, one in enumerate(rhs if isinstance(rhs, list) else [rhs]):
            if same(one, lhs):
                return True
            if not number & 15:
                self.bounds.look_at_clock()
        return False

    def evaluate_string_concat(self, lhs: Any, rhs: Any) -> str:
        """`&`."""
        left, right = text_of(lhs), text_of(rhs)
        self.bounds.text(len(left) + len(right))
        return left + right

    def evaluate_range_expression(self, lhs: Any, rhs: Any) -> Any:
        """`[a..b]`, counted before it is made."""
        for side, code in ((lhs, "T2003"), (rhs, "T2004")):
            whole = isinstance(side, int | float) and not isinstance(side, bool) and side == int(side)
            if side is not None and not whole:
                raise JException(code, -1, side)
        if lhs is None or rhs is None or lhs > rhs:
            return None
        self.bounds.items(int(rhs) - int(lhs) + 1, each=40)
        return Utils.create_sequence_from_iter(range(int(lhs), int(rhs) + 1))

    def evaluate_wildcard(self, expr: Any, input: Any) -> Any:  # noqa: A002, ARG002 - the library's names
        """`*`."""
        found = Utils.create_sequence()
        value = _outermost(input)
        members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        for member in members:
            if isinstance(member, list):
                found.extend(self.flatten(member, None))
            else:
                found.append(member)
            if len(found) > ITEMS_MAX:
                raise too_big(f"an array has at most {ITEMS_MAX} items")
        return found

    def evaluate_descendants(self, expr: Any, input: Any) -> Any:  # noqa: A002 - the library's names
        """`**`."""
        self.bounds.weigh(input)
        return super().evaluate_descendants(expr, input)

    def evaluate_group_expression(self, expr: Any, input: Any, environment: Any) -> Any:  # noqa: A002 - the library's name
        """`{…}`, alone or after a path. An empty array is not changed for it."""
        if isinstance(input, list) and not input:
            input = [None]  # noqa: A001 - the library's name
        return super().evaluate_group_expression(expr, input, environment)

    def evaluate_transform_expression(self, expr: Any, input: Any, environment: Any) -> Any:  # noqa: A002, ARG002 - as above
        """`|…|…|`: what was changed is weighed anew."""
        return Jsonata.JFunction(_Transformer(self, expr, environment), "<(oa):o>")


class _Frame(Jsonata.Frame):  # type: ignore[misc]  # the library has no types
    """Names that are bound. A function keeps its own name whatever it is bound to: it is shared by all evaluations."""

    def bind(self, name: str, val: Any) -> None:
        self.bindings[name] = val

    def lookup(self, name: str) -> Any:
        frame: Any = self
        while frame is not None:
            if name in frame.bindings:
                return frame.bindings[name]
            frame = frame.parent
        return None


class _Transformer(Jsonata.Transformer):  # type: ignore[misc]  # the library has no types
    """Changes a copy, whose nulls stay nulls."""

    def call(self, input: Any, args: Any) -> Any:  # noqa: A002, ARG002 - the library's names
        """Make the copy, and change it wherever the pattern matches."""
        run, expr, frame = self._jsonata, self._expr, self._environment
        if args[0] is None:
            return None
        run.bounds.weigh(args[0])
        result = cloned(args[0])
        matches = run.eval(expr.pattern, result, frame)
        for match in matches if isinstance(matches, list) else [] if matches is None else [matches]:
            if not isinstance(match, dict):
                continue
            update = run.eval(expr.update, match, frame)
            if update is not None and not isinstance(update, dict):
                raise JException("T2011", expr.update.position, update)
            match.update(update or {})
            gone = None if expr.delete is None else run.eval(expr.delete, match, frame)
            names = gone if isinstance(gone, list) else [] if gone is None else [gone]
            if not Utils.is_array_of_strings(names):
                raise JException("T2012", expr.delete.position, gone)
            for name in names:
                match.pop(name, None)
        run.bounds.forget(result)
        run.bounds.made(result)
        return result


def _joined(expr: Any, binding: dict[str, Any], place: int, one: Any) -> dict[str, Any]:
    """What one value adds to a combination."""
    added = {"@": one} if expr.focus is None else {expr.focus: one}
    if expr.index is not None:
        added[expr.index] = place
    if expr.ancestor is not None:
        added[expr.ancestor.label] = binding["@"]
    return added


def _outermost(value: Any) -> Any:
    return value[0] if isinstance(value, Utils.JList) and value.outer_wrapper and value else value


_ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
    "/": lambda left, right: left / right,
    "%": math.fmod,
}
_LITERALS = frozenset({"string", "number", "value", "regex"})
_MAKERS = frozenset({"path", "unary", "lambda", "partial", "wildcard", "descendant"})
_HANDLERS: dict[str, Callable[[Any, Any, Any, Any], Any]] = {
    "path": Evaluation.evaluate_path,
    "binary": Evaluation.evaluate_binary,
    "unary": Evaluation.evaluate_unary,
    "name": Evaluation.evaluate_name,
    "wildcard": lambda run, expr, value, _frame: run.evaluate_wildcard(expr, value),
    "descendant": lambda run, expr, value, _frame: run.evaluate_descendants(expr, value),
    "condition": Evaluation.evaluate_condition,
    "block": Evaluation.evaluate_block,
    "bind": Evaluation.evaluate_bind_expression,
    "function": lambda run, expr, value, frame: run.evaluate_function(expr, value, frame, Utils.NONE),
    "lambda": Evaluation.evaluate_lambda,
    "partial": Evaluation.evaluate_partial_application,
    "apply": Evaluation.evaluate_apply_expression,
    "transform": Evaluation.evaluate_transform_expression,
}
