"""English, as far as the guard knows it: words that carry little, words that change everything, and words that oppose each other."""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


FUNCTION = _words(
    "a an the is are was were be been being am do does did have has had will would can could shall should may might must "
    "i you he she it we they me him her us them my your his its our their mine yours this that these those there here "
    "of in on at to for from with by about into onto as and or but if then than so such when where why how what which who whom "
    "whose while during between through over under up down out off again some any all each no not very just also too get "
    "isn't don't doesn't can't won't i'm i've it's what's how's where's who's that's there's you're let's"
)
"""A text with none of these is not known to be English."""

FOREIGN = _words(
    "der die das und ist nicht wie ich ein eine einen mit für auf zu den dem wann warum wer wo sind kann welche welcher "
    "le les la el los las un une uno una est et que qui quoi comment pourquoi quel quelle où je tu il elle nous vous des du en dans "
    "es y por para como cómo qué cuál cuándo dónde mi su con del al se lo che perché gli della nel sono quale "
    "o os as um uma não com mais het een van ik niet hoe wat waar de och är att det"
)
"""Words of other languages that use the same letters. What English has as well is outweighed by its own."""

LIGHT = FUNCTION - _words("over under up down out off no not all each between during again my your our his her their")
"""Words that may be there or not."""

FILLER = _words(
    "please tell show give help want need like know find let let's explain describe kindly hi hello hey thanks thank ok okay "
    "good best better great nice possible way ways thing things really actually exactly currently would wondering curious "
    "someone somebody one people person everyone anybody anyone something anything lot lots kind sort type able going "
    "question questions answer quick quickly easily properly much many several different various certain suitable "
    "use using used make making get getting got take taking do doing done go come happen say mean means meaning think "
    "consider considered must own yet ever even still main proper having name term"
)
"""Words that change nothing where one more of them stands among others."""

NEGATIONS = _words(
    "not no never none nobody nothing neither nor without cannot except unless hardly isnt dont doesnt cant wont"
)
NEGATING_PREFIXES = ("un", "in", "im", "ir", "non", "dis")

NUMBERS = {
    "zero": "0", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9",
    "ten": "10", "eleven": "11", "twelve": "12", "thirteen": "13", "fourteen": "14", "fifteen": "15", "sixteen": "16",
    "seventeen": "17", "eighteen": "18", "nineteen": "19", "twenty": "20", "thirty": "30", "forty": "40", "fifty": "50",
    "sixty": "60", "seventy": "70", "eighty": "80", "ninety": "90", "hundred": "100", "thousand": "1000", "million": "1e6",
    "billion": "1e9", "lakh": "1e5", "lakhs": "1e5", "crore": "1e7", "dozen": "12", "half": "1/2", "quarter": "1/4",
    "double": "2x", "twice": "2x", "triple": "3x", "third": "3.", "fourth": "4.", "fifth": "5.", "sixth": "6.", "tenth": "10.",
    "second": "2.", "1st": "1.", "2nd": "2.", "3rd": "3.", "first": "1.", "midnight": "24h", "noon": "12h", "midday": "12h",
    "am": "am", "pm": "pm", "a.m": "am", "p.m": "pm",
    "january": "m1", "february": "m2", "march": "m3", "april": "m4", "june": "m6", "july": "m7", "august": "m8",
    "september": "m9", "october": "m10", "november": "m11", "december": "m12",
    "monday": "d1", "tuesday": "d2", "wednesday": "d3", "thursday": "d4", "friday": "d5", "saturday": "d6", "sunday": "d7",
    "today": "d+0", "tonight": "d+0", "tomorrow": "d+1", "yesterday": "d-1", "weekend": "d67",
    "hour": "hour", "hourly": "hour", "day": "day", "daily": "day", "week": "week", "weekly": "week",
    "month": "month", "monthly": "month", "year": "year", "yearly": "year", "annual": "year", "annually": "year",
    "hours": "hour", "days": "day", "weeks": "week", "months": "month", "years": "year", "minute": "minute",
    "minutes": "minute", "seconds": "s", "quarters": "1/4", "spring": "y1", "summer": "y2", "autumn": "y3", "winter": "y4",
    "morning": "h1", "afternoon": "h2", "evening": "h3", "night": "h4",
}  # fmt: skip
"""Quantities, places in an order and points in time, each as what it stands for. `May` is left to the names."""

AXES: tuple[tuple[frozenset[str], ...], ...] = tuple(
    tuple(_words(pole) for pole in axis.split("|"))
    for axis in (
        ("maximum max highest peak biggest largest greatest top most longest fastest tallest oldest"
        "|minimum min lowest smallest bottom least fewest shortest slowest youngest fewer"
        "|average mean typical median|total sum overall|count"),
        "cheap cheapest cheaper affordable inexpensive budget|expensive costly luxury premium priciest",
        ("previous former past before earlier last old ex prior|next upcoming future later after following"
        "|current now today present currently latest new newest recent"),
        ("increase increasing raise grow growing gain rise rising higher up upgrade improve boost"
        "|decrease decreasing reduce reducing lower shrink lose losing drop fall falling down downgrade cut fewer"),
        ("open opening start begin starting enable activate turn-on launch unlock unblock resume|close closing stop end finish "
        "disable deactivate shut cancel terminate lock block pause"),
        "buy buying purchase order|sell selling sale|rent lease hire",
        "lend loan lending|borrow borrowing",
        "send sending transfer pay|receive receiving received",
        "import upload download-from|export download",
        "add adding insert install attach create include|remove removing delete uninstall erase detach exclude",
        "win winning won|lose losing lost",
        "safe safely harmless secure|unsafe dangerous harmful risky toxic",
        ("benefit benefits advantage advantages pros strengths|drawback drawbacks disadvantage disadvantages cons risks downsides "
        "downside weaknesses"),
        "before|after|during",
        "above over more exceeding|below under less beneath",
        "male men man boy boys husband father son brother|female women woman girl girls wife mother daughter sister",
        "internal inside indoor|external outside outdoor",
        "public publicly|private privately anonymous anonymously",
        "online remote remotely|offline onsite",
        "hot warm heat heating|cold cool cooling freeze",
        "allowed allow permitted legal accept|forbidden prohibited banned illegal deny reject refuse",
        "true real right correct|false fake wrong incorrect",
        "single individual alone|both pair couple joint|group team",
        "all every each entire whole|any some|only solely just exclusively|none",
        "input|output", "read reading|write writing", "login log-in sign-in|logout log-out sign-out|signup register",
        "employee employees worker|employer employers boss", "teacher|student", "doctor|patient", "child children kid kids|adult adults|parent parents",
        "encrypt encryption|decrypt decryption", "encode|decode", "compress|decompress extract", "credit|debit", "asset|liability",
        "deposit|withdraw withdrawal", "arrive arrival|depart departure leave", "early|late", "north|south|east|west", "left|right",
        "domestic|international foreign overseas", "android|iphone ios|windows|mac macos|linux ubuntu", "love|hate",
        "success succeed pass|fail failure", "accept|decline", "gross|net", "front|back|side", "introvert introverts|extrovert extroverts",
        "horizontal|vertical", "sync synchronous|async asynchronous", "import|export", "upload|download", "push|pull",
        "undergraduate|graduate|phd doctorate", "physical|virtual|digital", "breakfast|lunch|dinner", "minor|major",
    )
)  # fmt: skip
"""Each a line with poles: two questions that stand at different ones are different questions."""

SAME: tuple[frozenset[str], ...] = tuple(
    _words(group)
    for group in (
        "buy purchase buying purchasing", "cost price costs prices expense expenses spend spending", "fix repair solve resolve mend",
        "car vehicle automobile", "phone mobile cellphone smartphone", "learn study learning studying", "job career work",
        "movie film movies films", "begin start beginning starting", "reduce lose decrease lower", "remove delete erase",
        "increase raise improve boost", "connect link hook integrate connecting linking attach", "convert turn change transform go",
        "picture photo image pictures photos images", "trip travel journey visit", "earn make", "quick fast rapid", "kid child kids children",
        "difference differences differ", "reason reasons cause causes", "city town", "company firm business", "big large huge", "couch sofa",
        "money cash funds", "cancel stop terminate", "track trace locate", "happy glad", "sad unhappy", "help assistance support",
        "schedule set run", "time long", "place places location locations", "college university colleges universities", "country nation",
        "doctor physician", "gift present", "illness disease sickness", "dangerous unsafe risky", "watch see view", "obtain get receive",
        "error problem issue errors problems issues", "search look seek", "employee staff worker", "answer reply respond", "begin commence",
        "near nearby around", "hobby hobbies pastime", "tip tips advice suggestion suggestions", "song music track", "meal dish food recipe",
        "amount number quantity count", "current now", "support available", "see watch seen watched", "leap jump", "source resource", "speak talk", "choose select pick", "arrive come", "expire expiration", "rid remove", "woman lady",
        "man guy", "street road", "shop store", "below under", "above over", "prevent avoid stop", "treat cure heal", "convert translate",
        "become be", "approach method technique way", "weight fat", "software program app application", "laptop computer pc",
    )
)  # fmt: skip
"""Words that may stand for each other."""

YES_NO = _words(
    "is are was were does do did can could will would should has have had may am isn't aren't doesn't don't didn't can't won't"
)
ASKING = {"why": "why", "when": "when", "where": "where", "who": "who", "whose": "who", "whom": "who"}
AMOUNTS = {**dict.fromkeys(_words("much many far often big old"), "amount"), "long": "how long"}
REASON = _words("reason reasons cause causes why explain")
MARKS_WHEN = _words("time date day year hour long soon")
MARKS_WHERE = _words("place places location locations city country")
POLITE = (
    ("can", "you", "please"), ("could", "you", "please"), ("can", "you"), ("could", "you"), ("would", "you"), ("will", "you"),
    ("do", "you", "know"), ("can", "i", "know"), ("may", "i", "know"), ("i", "want", "to", "know"), ("i", "would", "like", "to", "know"),
    ("i'd", "like", "to", "know"), ("i", "need", "to", "know"), ("tell", "me"), ("let", "me", "know"), ("please",), ("hi",), ("hello",),
    ("so",), ("and",), ("does", "anyone", "know"), ("can", "someone"), ("can", "anyone"), ("could", "someone"), ("does", "anybody", "know"),
)  # fmt: skip
"""How people begin before they ask."""
SYMMETRIC = _words(
    "and or between vs versus vs. difference differences compare compared comparison & both among differ"
)
OTHERS = {
    "my": "me",
    "mine": "me",
    "your": "you",
    "yours": "you",
    "our": "us",
    "his": "he",
    "her": "she",
    "their": "they",
}
