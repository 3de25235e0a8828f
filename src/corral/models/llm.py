"""`LLM`: how an agent asks a model, through all the layers of the service it runs in."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar, overload

import msgspec

from corral.context import Context, find_context
from corral.messages import (
    Caller,
    CallModel,
    Delta,
    EmbedCall,
    Message,
    ModelCall,
    ModelEvent,
    ModelReply,
    OutputFormat,
    as_parts,
    closing,
)
from corral.models.batching import Progress, answered_all
from corral.models.connected import Models, connected, use, using
from corral.models.journaled import asked_once, run_once, streamed_once
from corral.models.own import OwnFunctions, own_router
from corral.models.routing import AUTO, Router
from corral.models.stack import wrap
from corral.models.structured import AnswerMisfit, Shape
from corral.settings.model_sections import RouterSettings

__all__ = ["LLM", "Models", "use", "using"]

T = TypeVar("T")

Prompt = str | Message | Sequence[Message | Mapping[str, Any]]
"""A question, or a conversation."""

_FIELDS: Final = frozenset(ModelCall.__struct_fields__) - {"messages", "caller", "notes", "stream", "deadline"}
_STEP = "llm"
_USUAL: Final = Caller().priority


class LLM:
    """A model to ask, with defaults of its own.

        llm = LLM("smart", system="You are brief.", temperature=0.2)
        reply = await llm("Why is the sky blue?")     # in a synchronous agent: llm.run(…)
        print(reply.text, reply.cost_usd)

    Made once, used anywhere: what belongs to a request (tenant, session, deadline) is taken from the request that runs.
    In a durable job, an answer is written down before it is given, and never asked for again by a later attempt.
    """

    def __init__(
        self,
        model: str = "",
        *,
        system: str = "",
        durable: bool = True,
        model_router: Mapping[str, str] | RouterSettings | None = None,
        complexity_classifier: str | Callable[..., Any] | None = None,
        **defaults: Any,
    ) -> None:
        """`model` is `provider/model`, a name, or `auto`; empty: the service's default. `defaults` are fields of `ModelCall`.

        `model_router` (`{"simple_query": …, "complex_reasoning": …, "expert_task": …}`) decides `auto` for this one instead of
        the settings, by `complexity_classifier` (as in the settings, or a function) if there is one.
        """
        _check_fields(defaults)
        self._model = model or (AUTO if model_router else "")
        self._system = system
        self._durable = durable
        self._defaults = defaults
        self._over: Callable[[CallModel], CallModel] | None = None
        if model_router is not None or complexity_classifier is not None:
            router = _router(model_router, complexity_classifier)
            self._over = lambda call: wrap(call, [router])

    # -- one answer ----------------------------------------------------------------------------------------------------

    @overload
    async def __call__(
        self, prompt: Prompt, *, output: None = None, durable: bool | str | None = None, **overrides: Any
    ) -> ModelReply: ...
    @overload
    async def __call__(
        self, prompt: Prompt, *, output: type[T], durable: bool | str | None = None, **overrides: Any
    ) -> T: ...
    async def __call__(
        self, prompt: Prompt, *, output: Any = None, durable: bool | str | None = None, **overrides: Any
    ) -> Any:
        """Ask. With `output` (a struct, dataclass, TypedDict or pydantic model), the answer as one of these.

        An answer that does not fit is sent back once to be mended; then `AnswerMisfit` is raised. `durable` is for jobs: `False`
        asks again in a later attempt, and text is the name of the step, for prompts that are not the same each time.
        """
        if not _is_type(output):
            return await self.complete(self._call(prompt, output=output, **overrides), durable=durable)
        shape: Shape[Any] = Shape(output)
        call = self._call(prompt, output=shape.format, **overrides)
        reply = await self.complete(call, durable=durable)
        try:
            return shape.read(reply)
        except ValueError as error:
            call = msgspec.structs.replace(call, messages=[*call.messages, *shape.repair(reply, error)], notes={})
        reply = await self.complete(call, durable=f"{durable} mended" if isinstance(durable, str) else durable)
        return _read_or_misfit(shape, reply)

    async def complete(self, call: ModelCall, *, durable: bool | str | None = None) -> ModelReply:
        """The same for a call that is put together already; its caller and deadline are filled in."""
        call = self._addressed(call)
        models = connected()
        step = self._step(call, durable)
        if step is None:
            return await models.reply(call, self._over)
        context, name = step
        return await asked_once(context, name, lambda: models.reply(call, self._over))

    async def stream(
        self, prompt: Prompt, *, durable: bool | str | None = None, **overrides: Any
    ) -> AsyncIterator[ModelEvent]:
        """The answer piece by piece: `Delta`s, then one `ModelReply`. What a job had heard to its end comes again at once."""
        call = self._addressed(msgspec.structs.replace(self._call(prompt, **overrides), stream=True))
        models = connected()
        step = self._step(call, durable)
        events = models.stream(call, self._over)
        if step is not None:
            events = streamed_once(*step, events)
        async with closing(events) as pieces:
            async for event in pieces:
                yield event

    async def text(self, prompt: Prompt, **overrides: Any) -> AsyncIterator[str]:
        """The answer's text piece by piece: what most agents want to pass on."""
        async with closing(self.stream(prompt, **overrides)) as events:
            async for event in events:
                if isinstance(event, Delta) and event.kind == "text":
                    yield event.text

    # -- many ----------------------------------------------------------------------------------------------------------

    async def batch(
        self, prompts: Sequence[Prompt], *, at_once: int = 8, progress: Progress | None = None, **overrides: Any
    ) -> list[Any]:
        """An answer or an error for each prompt, in order; one that fails does not sink the rest.

        `progress` is called with (done, all) after each. All other arguments are as for one.
        """

        async def ask(prompt: Prompt) -> Any:
            return await self(prompt, **overrides)

        return await answered_all(list(prompts), ask, at_once=at_once, progress=progress)

    async def embed(self, texts: Sequence[str], *, model: str, dimensions: int | None = None) -> list[list[float]]:
        """One vector for each text, in order. Not written down in jobs: vectors are large, and kept by the cache."""
        if not texts:
            return []
        return (await connected().embed(self._embed_call(texts, model, dimensions))).vectors

    # -- for synchronous agents ----------------------------------------------------------------------------------------

    def run(self, prompt: Prompt, *, output: Any = None, durable: bool | str | None = None, **overrides: Any) -> Any:
        """`await llm(…)` for a thread: returns the answer."""
        if not _is_type(output):
            return self.run_complete(self._call(prompt, output=output, **overrides), durable=durable)
        shape: Shape[Any] = Shape(output)
        call = self._call(prompt, output=shape.format, **overrides)
        reply = self.run_complete(call, durable=durable)
        try:
            return shape.read(reply)
        except ValueError as error:
            call = msgspec.structs.replace(call, messages=[*call.messages, *shape.repair(reply, error)], notes={})
        reply = self.run_complete(call, durable=f"{durable} mended" if isinstance(durable, str) else durable)
        return _read_or_misfit(shape, reply)

    def run_complete(self, call: ModelCall, *, durable: bool | str | None = None) -> ModelReply:
        """`complete` for a thread."""
        call = self._addressed(call)
        models = connected()
        step = self._step(call, durable)
        if step is None:
            return models.from_thread(models.reply(call, self._over))
        context, name = step
        return run_once(context, name, lambda: models.from_thread(models.reply(call, self._over)))

    def run_stream(self, prompt: Prompt, **overrides: Any) -> Iterator[ModelEvent]:
        """`stream` for a thread. In a job it is asked again by a later attempt: use `run` for what must not be."""
        call = self._addressed(msgspec.structs.replace(self._call(prompt, **overrides), stream=True))
        return connected().iterate(call, self._over)

    def run_batch(
        self, prompts: Sequence[Prompt], *, at_once: int = 8, progress: Progress | None = None, **overrides: Any
    ) -> list[Any]:
        """`batch` for a thread. `progress` is called on the service's loop, so it is quick."""
        return connected().from_thread(self.batch(prompts, at_once=at_once, progress=progress, **overrides))

    def run_embed(self, texts: Sequence[str], *, model: str, dimensions: int | None = None) -> list[list[float]]:
        """`embed` for a thread."""
        return connected().from_thread(self.embed(texts, model=model, dimensions=dimensions))

    # -- putting a call together ---------------------------------------------------------------------------------------

    def _call(self, prompt: Prompt, **overrides: Any) -> ModelCall:
        _check_fields(overrides)
        fields = self._defaults | {name: value for name, value in overrides.items() if value is not None}
        if isinstance(fields.get("output"), dict):
            fields["output"] = OutputFormat(schema=fields["output"])
        messages = _messages(prompt)
        if self._system and not any(message.role == "system" for message in messages):
            messages.insert(0, Message(role="system", content=as_parts(self._system)))
        return ModelCall(**{"model": self._model, **fields, "messages": messages})

    def _addressed(self, call: ModelCall) -> ModelCall:
        """Which model, for whom and until when."""
        context = find_context()
        model = call.model or self._model or connected().default
        caller, deadline = caller_of(context, call.caller), call.deadline
        if context is not None and context.deadline is not None:
            deadline = context.deadline if deadline is None else min(deadline, context.deadline)
        return msgspec.structs.replace(call, model=model, caller=caller, deadline=deadline)

    def _embed_call(self, texts: Sequence[str], model: str, dimensions: int | None) -> EmbedCall:
        context = find_context()
        return EmbedCall(
            model=model,
            texts=list(texts),
            dimensions=dimensions,
            caller=caller_of(context, Caller()),
            deadline=None if context is None else context.deadline,
        )

    def _step(self, call: ModelCall, durable: bool | str | None) -> tuple[Context, str] | None:
        """Within a job: under which name the answer is written down."""
        context = find_context()
        wanted = self._durable if durable is None else durable
        if context is None or context.job_id is None or wanted is False:
            return None
        return context, wanted if isinstance(wanted, str) else f"{_STEP} {_digest(call)}"


def caller_of(context: Context | None, said: Caller) -> Caller:
    """For whom an agent asks: who it is and for which tenant is never its own to say; tags and priority are."""
    if context is None:
        return said
    return msgspec.structs.replace(
        said,
        tenant=context.tenant,
        tier=context.tier,
        priority=said.priority if context.priority is None or said.priority != _USUAL else context.priority,
        user_id=context.user_id or said.user_id,
        agent=context.agent,
        session_id=context.session_id or "",
        run_id=context.job_id or context.request_id,
    )


def _digest(call: ModelCall) -> str:
    """The same for the same question, whoever asks when: so that tasks which ask side by side each find their own answer.

    Instructions do not count: they often hold the time of day.
    """
    question = [(message.role, message.content) for message in call.messages if message.role != "system"]
    schema = None if call.output is None else call.output.schema
    said = msgspec.json.encode((call.model, question, schema), order="sorted")
    return hashlib.blake2b(said, digest_size=9).hexdigest()


def _messages(prompt: Prompt) -> list[Message]:
    if isinstance(prompt, str):
        return [Message(role="user", content=as_parts(prompt))]
    if isinstance(prompt, Message):
        return [prompt]
    return [
        one if isinstance(one, Message) else msgspec.convert({**one, "content": as_parts(one.get("content"))}, Message)
        for one in prompt
    ]


def _check_fields(given: Mapping[str, Any]) -> None:
    for name in given:
        if name not in _FIELDS:
            close = difflib.get_close_matches(name, _FIELDS, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(sorted(_FIELDS))}."
            raise TypeError(f"A model's call has no {name!r}; {hint}")


def _is_type(output: object) -> bool:
    return output is not None and not isinstance(output, OutputFormat | dict)


def _read_or_misfit(shape: Shape[T], reply: ModelReply) -> T:
    try:
        return shape.read(reply)
    except ValueError as error:
        raise AnswerMisfit(f"The answer of {reply.model or 'the model'} does not fit, twice: {error}") from error


def _router(classes: Mapping[str, str] | RouterSettings | None, classifier: str | Callable[..., Any] | None) -> Router:
    if not classes:
        raise TypeError("`complexity_classifier` decides between the classes of `model_router`: give both.")
    own = OwnFunctions(model_router=classes, complexity_classifier=classifier)
    return Router(own_router(own, RouterSettings()), classifier=classifier if callable(classifier) else None)
