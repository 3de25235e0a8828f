"""What the simulated models know: a little about shops, support and operations, written by hand."""

from __future__ import annotations

import msgspec


class Topic(msgspec.Struct, frozen=True):
    """What can be said about one thing. A sentence may name `{number}`, an order or ticket that the question named."""

    name: str
    words: frozenset[str]
    """Beginnings of words that point to it."""
    facts: tuple[str, ...]
    question: str
    """What to ask back."""


def _topic(name: str, words: str, facts: tuple[str, ...], question: str) -> Topic:
    return Topic(name, frozenset(words.split()), facts, question)


TOPICS: tuple[Topic, ...] = (
    _topic(
        "refund",
        "refund money-back reimburs return sendback",
        (
            "You can return anything within 30 days, unused and in its box, and we refund the full price.",
            "Refunds go back to the card or account that paid, usually within 5 working days of the parcel reaching us.",
            "I have looked at {number}: it is within the return period, so a prepaid label can be sent right away.",
            "Shipping is refunded as well if the item was damaged or was not what you ordered.",
        ),
        "Shall I send the return label to the address we have for you?",
    ),
    _topic(
        "order status",
        "order track parcel package where shipped dispatch",
        (
            "Orders that are placed before 2 pm leave our warehouse on the same day.",
            "{number} was packed this morning and is with the carrier; the tracking link is in your confirmation mail.",
            "Tracking can show nothing new for a day while a parcel moves between two depots.",
            "If it has not moved for three working days, we start a search with the carrier.",
        ),
        "Do you want a message when it is out for delivery?",
    ),
    _topic(
        "shipping",
        "shipping deliver postage courier express abroad customs",
        (
            "Standard delivery takes 2 to 4 working days and is free above 50 euros.",
            "Express costs 9.90 and arrives on the next working day if you order before noon.",
            "Outside the EU, customs fees are shown before you pay, so nothing is due at the door.",
            "Large items come by appointment: the courier offers two time slots by text message.",
        ),
        "Which country should it go to?",
    ),
    _topic(
        "late delivery",
        "late delay overdue missing lost stolen arrived",
        (
            "I am sorry that {number} is late.",
            "Most delayed parcels turn up within two working days, and neighbours or a pick-up point have them surprisingly often.",
            "If it is not there after five working days, we replace it or refund it, whichever you prefer.",
            "I have added a note, so that you do not have to explain it again.",
        ),
        "Would you rather have a replacement or your money back?",
    ),
    _topic(
        "damaged item",
        "damag broken defect faulty crack scratch wrong-item repair",
        (
            "That should not have happened, and you do not need to send it back before we act.",
            "A photo of the damage and of the box is all we need to replace {number} free of charge.",
            "Replacements leave within one working day.",
            "Please keep the box for a week, as the carrier may want to see it.",
        ),
        "Can you attach a photo here?",
    ),
    _topic(
        "warranty",
        "warranty guarantee",
        (
            "Everything we sell has two years of warranty, and batteries have one.",
            "The invoice is the proof; there is nothing to register.",
            "Repairs take about eight working days, and we pay for both ways.",
        ),
        "What does the device do, or no longer do?",
    ),
    _topic(
        "password",
        "password login log-in sign-in signin locked 2fa passkey",
        (
            "Choose “Forgot password” on the sign-in page; the link that comes by mail is good for 20 minutes.",
            "After five wrong attempts an account is locked for 15 minutes, and then opens by itself.",
            "If you have lost the phone with your second factor, one of the recovery codes will let you in.",
            "Look into the spam folder before asking for another link: only the newest one works.",
        ),
        "Did the mail with the link arrive?",
    ),
    _topic(
        "invoice",
        "invoice bill receipt vat tax",
        (
            "Invoices are under Account → Billing, as PDF, for the last ten years.",
            "The invoice for {number} can still be changed to a company name and VAT number within 14 days.",
            "A copy can go to your bookkeeping automatically: add its address as a billing contact.",
        ),
        "Which name should stand on it?",
    ),
    _topic(
        "payment",
        "payment pay card charge declined paypal instal",
        (
            "A declined card is nearly always the bank asking for a confirmation in its app.",
            "The amount you see twice is a reservation; the bank drops it within three days.",
            "You can pay by card, by direct debit, or in three instalments above 90 euros.",
            "Nothing has been booked for {number} so far, so you can try again safely.",
        ),
        "Do you want to try another way of paying?",
    ),
    _topic(
        "subscription",
        "subscription cancel renew upgrade downgrade trial",
        (
            "You can cancel until the day before it renews, and keep access until the period ends.",
            "An upgrade starts at once and is charged for the remaining days only.",
            "A trial ends by itself: without a plan, nothing is charged.",
            "Yearly plans cost as much as ten months.",
        ),
        "Would pausing it for up to three months help as well?",
    ),
    _topic(
        "privacy",
        "privacy gdpr personal-data delete erase forget export",
        (
            "You can download everything we hold about you under Account → Privacy; it takes a few minutes.",
            "Deleting the account erases orders and messages after 30 days, except for invoices, which the law has us keep.",
            "Support staff see your last ten orders, and each look is logged.",
        ),
        "Do you want a copy of your data before it is deleted?",
    ),
    _topic(
        "opening hours",
        "hours open close phone contact human agent call",
        (
            "The support desk is there Monday to Friday from 8 to 20, and on Saturdays until 14.",
            "The usual wait on the phone is under three minutes, and shortest before ten.",
            "I can hand this conversation to a colleague, who will see all of it.",
        ),
        "Should somebody call you back?",
    ),
    _topic(
        "discount",
        "discount coupon voucher code promo sale price cheap",
        (
            "One code can be used per order, and it does not add up with sale prices.",
            "If the price falls within 14 days after you bought something, we refund the difference.",
            "Students and non-profits get 15 percent with a confirmed address.",
        ),
        "Which code did you try?",
    ),
    _topic(
        "stock",
        "stock available sold-out size fit recommend gift product",
        (
            "It is available in three sizes, and the middle one is back next week.",
            "People between two sizes mostly keep the larger one.",
            "For a gift, the box with tea and honey is what comes back least.",
            "You can leave your address on the product's page and hear when it is back.",
        ),
        "What is it for, and roughly what should it cost?",
    ),
    _topic(
        "high CPU",
        "cpu load slow latency p95 p99 throttl",
        (
            "Look at what changed first: the last deployment and the last change of configuration explain most of these.",
            "If CPU is high and throughput is flat, it is a lock or a retry storm; if both are high, it is load.",
            "A profile of 30 seconds on one instance costs little and settles most arguments.",
            "Latency at the 99th percentile that rises before CPU does points to a queue in front of the service.",
        ),
        "When did it begin, and was anything released within the hour before?",
    ),
    _topic(
        "memory",
        "memory oom leak heap rss killed",
        (
            "An out-of-memory kill leaves a line in the kernel's log with the size at that moment.",
            "A saw-tooth is caching; a slope that never falls is a leak.",
            "Take two heap snapshots an hour apart and compare what grew by count rather than by size.",
            "Raising the limit buys time, so write down when the limit will be reached again.",
        ),
        "How does memory look over the last 24 hours: saw-tooth or slope?",
    ),
    _topic(
        "disk",
        "disk storage volume space full inode",
        (
            "Check inodes as well as bytes: a full disk with free bytes has too many small files.",
            "Deleted files that a process still holds open keep their space until it restarts.",
            "Rotate logs by size rather than by day; a bad hour writes more than a good month.",
        ),
        "Which mount is it, and what writes there?",
    ),
    _topic(
        "deployment",
        "deploy release rollback rollout canary version",
        (
            "Roll back first and look for the cause afterwards: the previous version is known to work.",
            "Five percent of the traffic for ten minutes shows most regressions before customers see them.",
            "Migrations that only add can stay when the code goes back.",
            "Note the time of the rollback in the incident, so that graphs can be read later.",
        ),
        "Is the error rate the same on the canary as on the rest?",
    ),
    _topic(
        "errors",
        "5xx 500 502 503 504 error exception crash incident outage down",
        (
            "Split the errors by endpoint and by instance: one of the two usually stands out at once.",
            "502 and 504 come from the proxy, so the instance behind it died or did not answer in time.",
            "If the errors began at a full minute, look for a scheduled job.",
            "Customers should hear from us within 15 minutes, even when we do not know the cause.",
        ),
        "Which endpoint has most of them?",
    ),
    _topic(
        "database",
        "database query postgres sql index connection pool deadlock replica",
        (
            "Find the query first: the slow log sorted by total time, not by the longest single one.",
            "A pool that is exhausted looks like a slow database; compare the wait for a connection with the query's own time.",
            "An index that is never used costs every write, and can go.",
            "Keep transactions short, and never wait for another service inside of one.",
        ),
        "Does the plan of the slow query scan a whole table?",
    ),
    _topic(
        "certificate",
        "certificate tls ssl expire https dns",
        (
            "An expired certificate is replaced in minutes; finding everything that pinned the old one takes longer.",
            "Renew at two thirds of the lifetime, and alert at one third left.",
            "Lower the DNS time-to-live a day before a move, not during it.",
        ),
        "Which host name do clients complain about?",
    ),
    _topic(
        "queue",
        "queue backlog job worker stuck consumer lag retry dead-letter",
        (
            "Age matters more than length: a long queue that is emptied quickly is fine.",
            "One poisonous message that is retried for ever blocks all of those behind it, which is what dead letters are for.",
            "Add workers only if the thing they all wait for can take more.",
            "Make the handler idempotent before turning retries on.",
        ),
        "How old is the oldest message?",
    ),
    _topic(
        "models",
        "llm token prompt cache rate-limit 429 ratelimit model embedding",
        (
            "A 429 with a `Retry-After` is an appointment, not a failure: wait that long, and try once more.",
            "Keep the beginning of prompts stable, and the provider reads it from its cache for a tenth of the price.",
            "Most questions are simple; sending these to a small model saves more than any other single change.",
            "Answers that may be repeated are cheapest when nobody is asked at all.",
        ),
        "Do the calls share a long system prompt?",
    ),
    _topic(
        "on-call",
        "on-call oncall pager alert escalat runbook postmortem",
        (
            "An alert that nobody has to act on should be a graph.",
            "A good runbook begins with how to see whether customers are affected.",
            "Hand over in writing: what is open, what was tried, what is muted and until when.",
        ),
        "Is anything muted at the moment?",
    ),
)

SMALL_TALK: dict[str, str] = {
    "hello": "Hello! I can help with orders, returns, accounts, and with the systems behind them.",
    "hi": "Hi! What can I do for you?",
    "hey": "Hey! What can I do for you?",
    "thanks": "You are welcome. Is there anything else?",
    "thank": "You are welcome. Is there anything else?",
    "bye": "Goodbye, and thanks for stopping by.",
    "ping": "pong",
}

OPENINGS: tuple[str, ...] = (
    "About the {topic}:",
    "Happy to help with the {topic}.",
    "Thanks for asking about the {topic}.",
    "Here is what I can tell you about the {topic}.",
    "Let us look at the {topic} together.",
)

GENERAL: tuple[str, ...] = (
    "Here is how I would go about {subject}: write down what is known, what is only assumed, and what would change your mind.",
    "For {subject}, begin with the smallest version that somebody can use, and measure it before it grows.",
    "The short answer about {subject} is that it depends on how often it happens and on who has to live with it.",
    "With {subject}, the first step is to find out who decides, and by when.",
    "I would split {subject} into what cannot be undone and what can, and spend the time on the former.",
)

FURTHER: tuple[str, ...] = (
    "A single example from last week is worth more here than an average over the year.",
    "If there is a choice between two ways, take the one that is easier to take back.",
    "It helps to agree beforehand on what would count as done.",
    "Ask the people who answer the phone; they have known for months.",
    "Write it down where the next person will look, which is seldom where one would like to keep it.",
    "Numbers without a date next to them grow old unnoticed.",
    "Try it with ten users before it is tried with ten thousand.",
    "Whatever is decided, note why; the reason is what will be asked for later.",
)
