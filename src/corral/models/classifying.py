"""How hard a question is, told from what can be seen of it in microseconds: its features, and what they add up to.

This reads no meaning. It finds greetings, look-ups and one-line rewrites simple; long tasks with conditions, code or numbers
complex; and tasks of a profession (law, medicine, proofs, architecture) expert, in English and somewhat in German, French and
Spanish. What reads simple and is hard ("Is P = NP?") it takes for simple: that is what escalation is for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter, mul

import msgspec

from corral.messages import Message, ModelCall

_READ_MAX = 2_000
"""Characters of the last question that are looked at: its beginning and its end say what is wanted."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


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
_CODE_SIGNS = (("```", b"`"), ("=> ", b"="), ("();", b"("))
"""Looked for where the sign beside them was seen."""
_MATH_ASCII = b"=<>^%"
_MATH_SIGNS = "∑∫√≤≥±\N{MULTIPLICATION SIGN}÷"
_UNREMARKABLE = bytes(byte for byte in range(256) if byte >= 0x80 or chr(byte).isalnum() or byte in b" \t\r")  # noqa: PLR2004 - ASCII
_SIGNS = ".,;:!?()[]{}\"'`*#/\\"
_PLAIN = str.maketrans(dict.fromkeys(_SIGNS, " "))
_PLAIN_ASCII = bytes.maketrans(
    (_SIGNS + "ABCDEFGHIJKLMNOPQRSTUVWXYZ").encode(), b" " * len(_SIGNS) + b"abcdefghijklmnopqrstuvwxyz"
)
_KINDS = (_ASKS_THOUGHT, _ASKS_LITTLE, _EXPERT, _BINDS, _MAKES, frozenset(_STEPWISE))
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
    text = question_of(call.messages)
    length = len(text)
    if length > _READ_MAX:
        text = text[: _READ_MAX // 2] + "\n" + text[-_READ_MAX // 2 :]
    is_ascii = text.isascii()
    raw = text.encode(errors="surrogatepass")
    plain = raw.translate(_PLAIN_ASCII).decode() if is_ascii else text.lower().translate(_PLAIN)
    words = plain.split()
    signs = raw.translate(None, _UNREMARKABLE)  # few: what is counted is counted among them
    seen = [0] * len(_KINDS)
    for word in _KNOWN.intersection(words):
        for kind in _KINDS_OF[word]:
            seen[kind] += 1
    asks_thought, asks_little, expert, binds, makes, stepwise = seen
    # What is behind a question weighs little more once it is very long: its newest part is enough.
    said = sum([len(part.get("text") or "") for message in call.messages[-40:] for part in message.content]) - length
    questions = signs.count(b"?")
    return Features(
        words=len(words) if length <= _READ_MAX else length // 6,
        questions=questions,
        asks_thought=asks_thought,
        asks_little=asks_little,
        looks_up=bool(words) and words[0] in _LOOK_UP,
        expert=expert,
        binds=binds,
        code=_code(text, signs),
        math=_math(signs, "" if is_ascii else text),
        items=(signs.count(b";") if b";" in signs else 0)
        + (sum(map(text.count, _ITEM_SIGNS)) if b"\n" in signs else 0),
        makes=makes,
        sentences=text.count(". ") + questions,
        steps=stepwise > 0 or "step by step" in plain or "step-by-step" in plain,
        depth=len(call.messages) - 1,
        context=max(0, said),
        tools=len(call.tools),
        output=call.output is not None and call.output.schema is not None,
        thinking=call.reasoning in {"medium", "high"} or (call.reasoning.isdecimal() and int(call.reasoning) > 0),
    )


def _code(text: str, signs: bytes) -> int:
    """How many kinds of signs of a program there are."""
    seen = ("def " in text) + ("SELECT " in text) + ("Traceback" in text)
    for sign, beside in _CODE_SIGNS:
        if beside in signs:
            seen += sign in text
    return seen


def _math(signs: bytes, more: str) -> int:
    """How many signs of mathematics; `more` is a text that has others than ASCII's."""
    seen = len(signs) - len(signs.translate(None, _MATH_ASCII))
    return seen + sum(map(more.count, _MATH_SIGNS)) if more else seen


_SIMPLE_BELOW, _EXPERT_FROM = 0.205, 0.60
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
"""How much of each counts, and how much it weighs. Most questions have little of it: the sum is taken without a step for each."""
_weighed = attrgetter(*_WEIGHTS)
_MOST, _WEIGHT = zip(*_WEIGHTS.values(), strict=True)


def difficulty(seen: Features) -> float:
    """From 0 (a greeting) to 1 (a task for the best there is)."""
    words = seen.words
    score: float = sum(map(mul, map(min, _weighed(seen), _MOST), _WEIGHT)) + min(words, 400) / 400 * 0.12
    if seen.makes:
        score += min(seen.makes, 2) * (0.09 if words > 6 else 0.02)  # noqa: PLR2004 - a handful of words asks for a handful
    if seen.questions > 1:
        score += min(seen.questions - 1, 3) * 0.06
    if words <= 14 and not seen.expert and not seen.code:  # noqa: PLR2004 - a short question, however it is put
        score -= 0.06 * min(seen.asks_little, 2) + (0.08 if seen.looks_up else 0.0)
    # Much of everything is a long task, not yet one for an expert: that takes words of a profession, or a caller who says so.
    most = 1.0 if seen.expert or seen.thinking else _EXPERT_FROM - 0.01
    return min(most, max(0.0, score))


def level(score: float, classes: int) -> int:
    """Which of so many classes, from simple to expert."""
    if classes <= 1:
        return 0
    if score < _SIMPLE_BELOW:
        return 0
    if score >= _EXPERT_FROM or classes == 2:  # noqa: PLR2004 - of two classes, the second is for all that is not simple
        return classes - 1
    between = classes - 2
    return 1 + min(between - 1, int((score - _SIMPLE_BELOW) / (_EXPERT_FROM - _SIMPLE_BELOW) * between))


class Heuristic:
    """The default classifier: features, summed up. Takes about ten microseconds for a paragraph."""

    def __init__(self, classes: Iterable[str]) -> None:
        """Classes from simple to expert, as they stand in the settings."""
        self._classes = tuple(classes)

    def __call__(self, call: ModelCall) -> tuple[str, str]:
        """The class, and what it was seen by."""
        seen = features_of(call)
        score = difficulty(seen)
        return self._classes[level(score, len(self._classes))], f"difficulty {score:.2f}: {_shown(seen)}"


_NAMED = ("thought", "expert", "bounds", "code", "math", "items", "steps", "tools")


def _shown(seen: Features) -> str:
    shown = f"{seen.words} words"
    named = (seen.asks_thought, seen.expert, seen.binds, seen.code, seen.math, seen.items, int(seen.steps), seen.tools)
    if any(named):
        for name, count in zip(_NAMED, named, strict=True):
            if count:
                shown += f", {name} {count}"
    return shown
