"""What is answered: composed from what was asked, by rules that chance only varies."""

from __future__ import annotations

import functools
import random
import re
from typing import Any

import msgspec

from corral.messages import Message, ModelCall, StopReason
from corral.models.sim import knowledge, reading, tokens
from corral.models.sim.asking import asked_tools, results_of, told
from corral.models.sim.fitting import Fitting
from corral.models.sim.options import ScriptLine

_SUMMARY = re.compile(r"\b(summari[sz]e|summary|tl;?dr|in short|key points|main points|shorten)\b", re.IGNORECASE)
_EXACTLY = re.compile(
    r"\b(?:(?:reply|answer|respond) (?:only |just )?with(?: exactly| only| just)?(?: the words?)?|say(?: exactly| only| just)?|repeat(?: after me)?)"
    r"\s*:?\s+(?P<text>.{1,500})",
    re.IGNORECASE | re.DOTALL,
)
_CHOICE = re.compile(
    r"\b(classif|category|categories|categorize|label|choose|which of|one of|sentiment|route|triage)", re.IGNORECASE
)
_NAMED = re.compile(r"\b(?i:my name is|i am called|call me|i'm) ([A-ZÀ-Þ][\w'-]*)")
_WHO_AM_I = re.compile(r"\b(?:what(?:'s| is) my name|who am i|remember my name|do you know my name)\b", re.IGNORECASE)
_INSTRUCTING = {"system", "user"}
_SENTENCES = 3
_ORDER = "your order"
_WORD_MIN = 4
"""Shorter beginnings of words fit anything."""


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of an answer, and why it ends there."""

    parts: list[dict[str, Any]]
    stop_reason: StopReason = "end"


def write(call: ModelCall, chance: random.Random) -> Written:
    """An answer to the call."""
    text = told(call)
    results = results_of(call)
    if (not results or call.tool_choice == "required") and (uses := asked_tools(call, text, chance)):
        return Written(parts=[*_thoughts(call, text), *uses], stop_reason="tool_use")
    prose = functools.partial(_prose, call, text, chance)
    if call.output is not None:
        about = f"{text}\n{' '.join(results)}" if results else text
        answer = _object(call.output.schema or _schema_told(call), about, chance, prose)
    elif results:
        answer = _from_results(results, chance)
    else:
        answer = prose()
    return Written(parts=[*_thoughts(call, text), {"type": "text", "text": answer}])


def scripted(line: ScriptLine, matched: re.Match[str] | None, chance: random.Random) -> Written | None:
    """What the script says to answer; none, if it is about something else (a fault, the length)."""
    if line.tool is not None:
        part = {"type": "tool_use", "id": tool_id(chance), "name": line.tool.name, "input": line.tool.input}
        return Written(parts=[part], stop_reason="tool_use")
    if line.json is not None:
        return Written(parts=[{"type": "text", "text": tokens.as_json(line.json)}])
    if line.reply is None:
        return None
    groups = [matched[0], *matched.groups("")] if matched is not None else [""]
    reply = line.reply
    for number, group in enumerate(groups):
        reply = reply.replace(f"{{{number}}}", group)
    return Written(parts=[{"type": "text", "text": reply}])


def tool_id(chance: random.Random) -> str:
    """An id for a tool's call."""
    return f"call_{chance.getrandbits(96):024x}"


def lengthened(text: str, wanted: int, chance: random.Random) -> str:
    """The text, continued until it has so many tokens at least."""
    further = [*knowledge.FURTHER]
    chance.shuffle(further)
    written, number = tokens.count(text), 0
    pieces = [text]
    while written < wanted:
        sentence = f" {further[number % len(further)]}"
        pieces.append(sentence)
        written += tokens.count(sentence)
        number += 1
    return "".join(pieces)


def _object(schema: dict[str, Any] | None, text: str, chance: random.Random, prose: Any) -> str:
    if schema is None:
        return tokens.as_json({"answer": prose(), "subject": " ".join(reading.key_words(text)[:3])})
    return tokens.as_json(Fitting(schema, text, chance, prose).value())


def _thoughts(call: ModelCall, text: str) -> list[dict[str, Any]]:
    """What a model that thinks would show of it; more of it for those who are to think hard."""
    if call.reasoning in {"", "none", "minimal", "0"}:
        return []
    subject = ", ".join(reading.key_words(text)[:5]) or "a greeting"
    thoughts = [f"The question is about {subject}."]
    if call.tools:
        thoughts.append(f"There are tools: {', '.join(tool.name for tool in call.tools[:5])}.")
    if call.reasoning != "low":
        thoughts.append("What is known for certain comes first, then what has to be asked back.")
    if call.reasoning == "high":
        thoughts.append("A short answer serves better than a complete one, so details are left for a second question.")
    return [{"type": "reasoning", "text": " ".join(thoughts)}]


def _schema_told(call: ModelCall) -> dict[str, Any] | None:
    """The schema that somebody wrote into the conversation, where JSON is wanted and no schema goes along."""
    for message in call.messages:
        if message.role in _INSTRUCTING and (found := reading.schema_in(message.text)):
            return found
    return None


# -- text -------------------------------------------------------------------------------------------------------------


def _prose(call: ModelCall, text: str, chance: random.Random) -> str:
    """Text, by the first rule that has something to say."""
    instruction = _instruction(call.messages)
    for rule in (_exactly, _who, _labelled, _calculated, _summarised, _seen, _topical, _greeting):
        said = rule(call, text, instruction, chance)
        if said:
            return said
    return _general(text, chance)


def _instruction(messages: list[Message]) -> str:
    return "\n".join(message.text for message in messages if message.role == "system")


def _exactly(_call: ModelCall, text: str, _instruction: str, _chance: random.Random) -> str:
    found = _EXACTLY.search(text)
    if found is None:
        return ""
    wanted = found["text"].strip()
    quoted = reading.quotes_of(wanted)
    return quoted[0] if quoted else wanted.splitlines()[0].rstrip(".") if len(wanted) > 1 else ""


def _who(call: ModelCall, text: str, _instruction: str, _chance: random.Random) -> str:
    """What an earlier message said: who has a conversation expects that it is read."""
    said = [message.text for message in call.messages if message.role == "user"]
    names = [name for message in said for name in _NAMED.findall(message)]
    if _WHO_AM_I.search(text):
        return f"Your name is {names[-1]}." if names else "You have not told me your name yet."
    if named := _NAMED.search(text):
        return f"Nice to meet you, {named[1]}. What can I do for you?"
    return ""


def _labelled(_call: ModelCall, text: str, instruction: str, chance: random.Random) -> str:
    labels = reading.labels_of(instruction) if _CHOICE.search(instruction) else []
    subject = text
    if not labels and _CHOICE.search(text):
        labels = reading.labels_of(text)
        subject = _without(text, labels)
    if not labels:
        return ""
    best, score = reading.nearest(labels, subject)
    if score:
        return best
    topic = _topic_of(subject)
    if topic is not None:
        best, score = reading.nearest(labels, f"{topic.name} {' '.join(topic.words)}")
    mood = reading.mood_of(subject)
    return best if score else next((label for label in labels if label.lower() == mood), "") or chance.choice(labels)


def _without(text: str, labels: list[str]) -> str:
    """The text that is to be labelled: without the line that lists the labels, if anything is left then."""
    lines = [line for line in text.splitlines() if sum(label.lower() in line.lower() for label in labels) < len(labels)]
    rest = "\n".join(lines).strip()
    if rest:
        return rest
    for label in labels:
        text = text.replace(label, "", 1)
    return text


def _calculated(_call: ModelCall, text: str, _instruction: str, _chance: random.Random) -> str:
    found = reading.sum_of(text)
    return f"{found[0]} = {reading.shown(found[1])}" if found is not None else ""


def _summarised(_call: ModelCall, text: str, instruction: str, _chance: random.Random) -> str:
    """The sentences that share most words with all of the text, in the order in which they stand there."""
    if not (_SUMMARY.search(text[:500]) or _SUMMARY.search(text[-200:]) or _SUMMARY.search(instruction)):
        return ""
    sentences = [s for s in reading.sentences_of(text) if not (_SUMMARY.search(s) and len(s) < 120)]  # noqa: PLR2004 - that is the order itself
    if not sentences:
        return ""
    often: dict[str, int] = {}
    for word in reading.words_of(text):
        if word not in reading.STOP_WORDS:
            often[word] = often.get(word, 0) + 1
    scores = [
        sum(often.get(word, 0) for word in set(reading.words_of(sentence))) / (len(sentence.split()) + 4)
        for sentence in sentences
    ]
    best = sorted(sorted(range(len(sentences)), key=lambda n: -scores[n])[:_SENTENCES])
    return " ".join(s if s[-1] in ".!?" else f"{s}." for s in (sentences[n] for n in best))


def _seen(call: ModelCall, text: str, _instruction: str, _chance: random.Random) -> str:
    """What was shown: the simulator has no eyes, and says what it was given."""
    shown = (
        [part for part in call.messages[-1].content if part.get("type") in {"image", "file"}] if call.messages else []
    )
    if not shown:
        return ""
    kinds = [str(part.get("media_type") or part.get("url", "")[:80] or part["type"]) for part in shown]
    subject = ", ".join(reading.key_words(text)[:4])
    return f"I was given {len(shown)} {'file' if len(shown) == 1 else 'files'} ({', '.join(kinds)}){f' about {subject}' if subject else ''}."


def _topic_of(text: str) -> knowledge.Topic | None:
    scores: dict[int, int] = {}
    for word in reading.key_words(text):
        for number, weight in _topics_of(word):
            scores[number] = scores.get(number, 0) + weight
    return knowledge.TOPICS[max(scores, key=lambda number: (scores[number], -number))] if scores else None


@functools.lru_cache(maxsize=8_192)
def _topics_of(word: str) -> tuple[tuple[int, int], ...]:
    """The numbers of the topics to which a word points, and how clearly."""
    found = []
    for number, topic in enumerate(knowledge.TOPICS):
        if word in topic.words:
            found.append((number, 3))
        elif len(word) > _WORD_MIN and any(len(start) >= _WORD_MIN and word.startswith(start) for start in topic.words):
            found.append((number, 2))
    return tuple(found)


def _topical(_call: ModelCall, text: str, instruction: str, chance: random.Random) -> str:
    topic = _topic_of(text)
    if topic is None:
        return ""
    facts = chance.sample(topic.facts, k=min(len(topic.facts), _length(instruction, text)))
    facts.sort(key=topic.facts.index)
    reference = reading.reference_of(text)
    said = " ".join(facts).replace("{number}", reference or _ORDER)
    said = said[0].upper() + said[1:]
    opening = chance.choice(knowledge.OPENINGS).format(topic=topic.name)
    return f"{opening} {said} {topic.question}"


def _length(instruction: str, text: str) -> int:
    """How many sentences are wanted."""
    wanted = f"{instruction} {text}".lower()
    if "one sentence" in wanted or "brief" in wanted or "concise" in wanted:
        return 1
    return 4 if "detail" in wanted or "step by step" in wanted else 2


def _greeting(_call: ModelCall, text: str, _instruction: str, _chance: random.Random) -> str:
    words = reading.words_of(text)[:4]
    return next((knowledge.SMALL_TALK[word] for word in words if word in knowledge.SMALL_TALK), "")


def _general(text: str, chance: random.Random) -> str:
    words = reading.key_words(text)
    subject = " ".join(words[:4])
    if not subject:
        return "I am a simulated model: I answer from a small store of sentences. Ask me about orders, returns, accounts or operations."
    first = chance.choice(knowledge.GENERAL).format(subject=subject)
    return " ".join([first, *chance.sample(knowledge.FURTHER, k=2)])


# -- from tools -------------------------------------------------------------------------------------------------------


def _from_results(results: list[str], chance: random.Random) -> str:
    """An answer that repeats what the tools found, in words."""
    opening = chance.choice(("Here is what I found:", "I have looked it up:", "This is what it says:"))
    return f"{opening} {' '.join(_spoken(result) for result in results)}"


def _spoken(result: str) -> str:
    try:
        value = msgspec.json.decode(result)
    except msgspec.DecodeError:
        value = result
    said = _said(value).strip()
    return said if said.endswith((".", "!", "?")) else f"{said}."


def _said(value: Any, depth: int = 0) -> str:
    match value:
        case dict() if depth < 3:  # noqa: PLR2004 - nobody listens any longer
            return ", ".join(
                f"{name.replace('_', ' ')} is {_said(inner, depth + 1)}" for name, inner in list(value.items())[:12]
            )
        case list() if depth < 3:  # noqa: PLR2004 - as above
            return "; ".join(_said(inner, depth + 1) for inner in value[:8]) or "nothing"
        case bool():
            return "yes" if value else "no"
        case None:
            return "unknown"
        case str():
            return value[:1_000]
        case _:
            return tokens.as_json(value)[:1_000]
