"""How hard a question is, told from what can be seen of it in microseconds: its features, and what they add up to.

This reads no meaning. It finds greetings, look-ups and one-line rewrites simple; long tasks with conditions, code or numbers
complex; and tasks of a profession (law, medicine, proofs, architecture) expert, in English and somewhat in German, French and
Spanish. What reads simple and is hard ("Is P = NP?") it takes for simple: that is what escalation is for.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable, Sequence
from itertools import compress
from operator import attrgetter

import msgspec

from corral.messages import Message, ModelCall

_READ_MAX = 2_000
"""Characters of the last question that are looked at: its beginning and its end say what is wanted."""


def _words(text: str) -> frozenset[bytes]:
    return frozenset(text.encode().split())


_ASKS_THOUGHT = _words(
    "why explain compare contrast analyze analyse evaluate assess argue justify derive design plan strategy tradeoff tradeoffs "
    "trade-off trade-offs debug diagnose investigate refactor optimize optimise implement solve calculate estimate prioritize "
    "summarize reconcile migrate schedule propose recommend critique troubleshoot brainstorm outline reason implications "
    "warum erkläre vergleiche analysiere bewerte begründe plane entwirf berechne löse pourquoi explique comparez compare analyse "
    "évalue conçois planifie calcule résous explica compara analiza evalúa diseña planifica calcula resuelve"
)
_ASKS_LITTLE = _words(
    "hi hello hey thanks thank thx ok okay yes no bye translate spell define capital synonym rephrase shorten capitalize "
    "weather time date today opening hours price status reset hallo danke hola gracias bonjour merci"
)
_MAKES = _words(
    "write create draft rewrite build turn develop generate reduce improve organize teach walk reconstruct convert extract "
    "review check find pick choose invest read list outline schreibe erstelle entwirf verfasse écris rédige crée escribe redacta "
    "crea how should which could"
)
_LOOK_UP = _words(
    "what who when where which is are was does do can wer wann wo was qui quand où qué quién cuándo dónde"
)
_EXPERT = _words(
    "theorem proof prove lemma corollary topology eigenvalue eigenvalues hamiltonian lagrangian asymptotic np-hard complexity "
    "jurisdiction liability tort fiduciary indemnification statute regulatory gdpr hipaa litigation arbitration "
    "contraindications pharmacokinetics differential diagnosis prognosis oncology pathology dosage etiology comorbidities "
    "derivatives hedging valuation wacc amortization arbitrage covenant securitization ifrs gaap "
    "consensus linearizability serializable byzantine raft paxos kernel compiler cryptographic lattice threat "
    "undecidable halting polynomial invariant invariants lemma induction manifold galois homotopy entropy differentiable gradient "
    "plaintiff defendant motion precedent statutory negligence antitrust patent infringement counsel appellate dismiss "
    "anticoagulation guidelines interactions heart renal ckd sepsis tumor biopsy pharmacology clinical comorbidity patient "
    "volatility calibration black-scholes arbitrage-free yield convexity solvency capital-structure ebitda audit auditor ledger "
    "sharding failover exactly-once quorum interleavings snapshot replication idempotency deadlock lock-free consistency "
    "spillover identification endogeneity regression treatment randomized compliance estimator variance asymptotics "
    "bayesian posterior heteroscedasticity econometric stochastic martingale causal confounders instrumental "
    "beweise satz haftung rechtsprechung théorème démontrez jurisprudence teorema demuestra jurisprudencia"
)
_BINDS = _words(
    "must should only without unless except at least most exactly each every between within before after constraint constraints "
    "requirement requirements ensure avoid never always given assume considering muss ohne außer doit sans sauf debe sin salvo"
)
_ITEM_SIGNS = ("\n- ", "\n* ", "\n1.", "\n2.")
_STEPWISE = _words("detail detailed thorough thoroughly scratch schritt étape paso")
_CODE_SIGNS = ("```", "=> ", "();")
_MATH_ASCII = "=<>^%"
_MATH_SIGNS = "∑∫√≤≥±\N{MULTIPLICATION SIGN}÷"
_SIGNS = ".,;:!?()[]{}\"'`*#/\\"
_BLANKS = "".join(filter(str.isspace, map(chr, range(0x3001))))
_PLAIN = str.maketrans(dict.fromkeys(_SIGNS + _BLANKS, " "))
_PLAIN_ASCII = bytes(ord(chr(byte).lower().translate(_PLAIN)) if byte < 0x80 else byte for byte in range(256))  # noqa: PLR2004 - ASCII
_KINDS = (_ASKS_THOUGHT, _ASKS_LITTLE, _EXPERT, _BINDS, _MAKES, _STEPWISE)
_KINDS_OF = {
    word: tuple(number for number, words in enumerate(_KINDS) if word in words) for word in frozenset().union(*_KINDS)
}
"""Which of these lists a word stands in: each word of a question is looked up once."""
_KNOWN = frozenset(_KINDS_OF)


class Features(msgspec.Struct, frozen=True):
    """What can be seen of a question."""

    words: int
    questions: int
    asks_thought: int
    asks_little: int
    looks_up: bool
    expert: int
    binds: int
    code: int
    math: int
    items: int
    """Lines of a list, and parts joined by semicolons."""
    makes: int
    sentences: int
    steps: bool
    depth: int
    """Messages of the conversation before it."""
    context: int
    """Characters of all that was said before it, and of the instructions."""
    tools: int
    output: bool
    """A schema is to be fitted."""
    thinking: bool
    """The caller asked for hard thinking."""


def question_of(messages: Sequence[Message]) -> str:
    """The last thing a person said."""
    for message in reversed(messages):
        if message.role == "user" and (text := message.text):
            return text
    return ""


def features_of(call: ModelCall) -> Features:
    """Look once. Bounded, however long the conversation is."""
    messages = call.messages
    text = question_of(messages)
    length = len(text)
    if length > _READ_MAX:
        text = text[: _READ_MAX // 2] + "\n" + text[-_READ_MAX // 2 :]
    raw = text.encode(errors="surrogatepass")
    if text.isascii():
        math, plain = 0, raw.translate(_PLAIN_ASCII)
    else:
        math = sum(map(text.count, _MATH_SIGNS))
        plain = text.lower().translate(_PLAIN).encode(errors="surrogatepass")
    words = plain.split()
    seen = [0] * len(_KINDS)
    for word in _KNOWN.intersection(words):
        for kind in _KINDS_OF[word]:
            seen[kind] += 1
    asks_thought, asks_little, expert, binds, makes, stepwise = seen
    items = 0
    code = ("def " in text) + ("SELECT " in text) + ("Traceback" in text)
    # Whether there is a sign at all is found much sooner than how many there are.
    if "\n" in text or "=" in text or "(" in text or ";" in text or "`" in text:
        code += sum([sign in text for sign in _CODE_SIGNS])
        items = text.count(";") + sum(map(text.count, _ITEM_SIGNS))
    for sign in _MATH_ASCII:
        if sign in text:
            math += text.count(sign)
    questions = len(raw) - len(raw.replace(b"?", b""))
    context = _said_in(messages) - length
    return Features(  # in the order they stand there: by name, it takes as long as finding all the words
        len(words) if length <= _READ_MAX else length // 6,
        questions,
        asks_thought,
        asks_little,
        bool(words) and words[0] in _LOOK_UP,
        expert,
        binds,
        code,
        math,
        items,
        makes,
        text.count(". ") + questions,
        stepwise > 0 or (plain.find(b"step") >= 0 and (b"step by step" in plain or b"step-by-step" in plain)),
        len(messages) - 1,
        context if context > 0 else 0,  # noqa: FURB136 - as where it is weighed
        len(call.tools),
        call.output is not None and call.output.schema is not None,
        call.reasoning != "" and _is_hard(call.reasoning),
    )


def _said_in(messages: Sequence[Message]) -> int:
    """Characters; what is behind a question weighs little more once it is very long."""
    said = 0
    for message in messages[-40:]:
        for part in message.content:
            said += len(part.get("text") or "")
    return said


def _is_hard(reasoning: str) -> bool:
    """Whether a caller who says this wants hard thinking."""
    return reasoning in {"medium", "high"} or (reasoning.isdecimal() and int(reasoning) > 0)


_SIMPLE_BELOW, _EXPERT_FROM = 0.205, 0.60
_LONG_TASK_MOST = _EXPERT_FROM - 0.01
"""Much of everything is not yet a task for an expert: that takes words of a profession, or a caller who says so."""
_WEIGHTS = {
    "words": (40, 0.22 / 40),
    "asks_thought": (3, 0.13),
    "expert": (4, 0.18),
    "sentences": (3, 0.04),
    "binds": (5, 0.035),
    "code": (2, 0.16),
    "math": (6, 0.03),
    "items": (6, 0.035),
    "steps": (1, 0.18),
    "depth": (10, 0.008),
    "context": (20_000, 0.12 / 20_000),
    "tools": (5, 0.02),
    "output": (1, 0.04),
    "thinking": (1, 0.25),
}
"""How much of each counts, and how much it weighs."""
_weighed = attrgetter(*_WEIGHTS)
_MOST, _WEIGHT = zip(*_WEIGHTS.values(), strict=True)


def difficulty(seen: Features) -> float:
    """From 0 (a greeting) to 1 (a task for the best there is)."""
    words = seen.words
    score = (words if words < 400 else 400) / 400 * 0.12  # noqa: FURB136, PLR2004 - as below; what a long question is
    counts = _weighed(seen)
    for count, most, weight in compress(zip(counts, _MOST, _WEIGHT, strict=True), counts):
        score += (count if count < most else most) * weight  # noqa: FURB136 - a call of `min` takes longer than all of this
    if seen.makes:
        score += (1 if seen.makes == 1 else 2) * (0.09 if words > 6 else 0.02)  # noqa: PLR2004 - a handful of words asks for a handful
    if seen.questions > 1:
        score += (seen.questions - 1 if seen.questions < 4 else 3) * 0.06  # noqa: PLR2004 - three more count
    if words <= 14 and not seen.expert and not seen.code:  # noqa: PLR2004 - a short question, however it is put
        score -= 0.06 * (seen.asks_little if seen.asks_little < 2 else 2) + (0.08 if seen.looks_up else 0.0)  # noqa: FURB136, PLR2004 - as above
    if score > _LONG_TASK_MOST and not seen.expert and not seen.thinking:
        return _LONG_TASK_MOST
    return 0.0 if score < 0 else 1.0 if score > 1 else score


def bounds_of(classes: int) -> tuple[float, ...]:
    """From where on a question belongs to each class but the first, if there are so many, from simple to expert."""
    if classes <= 2:  # noqa: PLR2004 - of two classes, the second is for all that is not simple
        return (_SIMPLE_BELOW,)[: classes - 1]
    wide = (_EXPERT_FROM - _SIMPLE_BELOW) / (classes - 2)
    return (*(_SIMPLE_BELOW + number * wide for number in range(classes - 2)), _EXPERT_FROM)


class Heuristic:
    """The default classifier: features, summed up. Takes about ten microseconds for a paragraph."""

    def __init__(self, classes: Iterable[str]) -> None:
        """Classes from simple to expert, as they stand in the settings."""
        self._classes = tuple(classes)
        self._bounds = bounds_of(len(self._classes))

    def __call__(self, call: ModelCall) -> tuple[str, str]:
        """The class, and what it was seen by."""
        seen = features_of(call)
        score = difficulty(seen)
        shown = f"difficulty {_HUNDREDTHS[int(score * 100 + 0.5)]}: {seen.words} words"
        named = _named(seen)
        if any(named):
            for name, count in zip(_NAMED, named, strict=True):
                if count:
                    shown += f", {name} {count:d}"
        return self._classes[bisect(self._bounds, score)], shown


_HUNDREDTHS = [f"{number / 100:.2f}" for number in range(101)]
_NAMED = ("thought", "expert", "bounds", "code", "math", "items", "steps", "tools")
_named = attrgetter("asks_thought", "expert", "binds", "code", "math", "items", "steps", "tools")
