"""Prompts and how hard they are, by the judgement of who wrote them: 0 simple, 1 complex, 2 expert.

`TUNED` was looked at while the weights were set; `FRESH` was written afterwards and nothing was changed for it.
"""

from __future__ import annotations

TUNED = [
    (0, "Hi there!"),
    (0, "What is the capital of France?"),
    (0, "Thanks, that helps."),
    (0, "What time do you open on Sunday?"),
    (0, "Translate 'good morning' to Spanish."),
    (0, "Where is my order 4711?"),
    (0, "Reset my password please"),
    (0, "Rephrase: the meeting is moved to Monday."),
    (0, "Who wrote Faust?"),
    (0, "Is the API down?"),
    (0, "Spell necessary"),
    (0, "How do I change my email address?"),
    (0, "Do you ship to Norway?"),
    (0, "Wie spät ist es in Tokio?"),
    (0, "Quel est le prix du forfait Pro ?"),
    (0, "Give me a synonym for happy."),
    (0, "What's 12 + 30?"),
    (0, "List three colours."),
    (0, "Cancel my subscription."),
    (0, "Write a one-line birthday wish for Ana."),
    (0, "What does HTTP 404 mean?"),
    (0, "Convert 10 miles to kilometres."),
    (0, "¿Dónde está mi pedido?"),
    (0, "Can I get a refund?"),
    (1, "Compare PostgreSQL and MySQL for a small shop and explain which one you would choose and why."),
    (
        1,
        "Summarize the following notes in five bullet points and list every open question:\n- the launch slipped\n- QA found three bugs; two are fixed\n- marketing wants a new date before Friday",
    ),
    (1, "Write a Python function that merges overlapping intervals.\n```python\ndef merge(xs):\n    ...\n```"),
    (1, "Plan a three day trip to Lisbon for two people with at most 600 euros, without flights, including a beach."),
    (1, "Why does my React component render twice? Explain and propose a fix."),
    (
        1,
        "A train leaves at 9:10 at 80 km/h, another at 9:40 at 100 km/h from the same station. When does the second overtake the first? Show your work step by step.",
    ),
    (
        1,
        "Draft an email to a customer who was billed twice: apologize, explain the refund takes 5 days, offer a discount of 10 %, and keep it under 120 words.",
    ),
    (1, "Debug this: Traceback (most recent call last): KeyError: 'user' in handler. What are likely causes?"),
    (1, "Calculate the monthly payment for a loan of 250000 at 3.5% over 20 years and explain the formula."),
    (1, "Analysiere die Vor- und Nachteile von Homeoffice für ein kleines Team und begründe deine Empfehlung."),
    (
        1,
        "Refactor this SQL so that it uses a window function: SELECT a, max(b) FROM t GROUP BY a; explain the difference.",
    ),
    (1, "Outline a marketing plan for a bakery; include budget, channels, and a schedule for each month of the year."),
    (
        1,
        "Given these requirements: must run offline, must support 3 languages, should cost less than 100 a month. Recommend a speech-to-text setup and justify it.",
    ),
    (1, "Explain the difference between TCP and UDP with two examples each."),
    (
        1,
        "Extract all dates and amounts from this invoice, then check that the total equals the sum of the items: 12 Jan: 40.00; 13 Jan: 22.50; 15 Jan: 9.99; total 72.49",
    ),
    (1, "Expliquez pourquoi le ciel est bleu et comparez avec le coucher du soleil."),
    (
        2,
        "Prove that every bounded monotone sequence of reals converges, step by step, and derive the monotone convergence theorem for integrals from it.",
    ),
    (
        2,
        "Assess the liability of a processor under GDPR when a sub-processor in a third country is breached; consider the indemnification clause, arbitration, and jurisdiction.",
    ),
    (
        2,
        "A 64 year old patient on warfarin presents with melena. Give a differential diagnosis, contraindications of the options, and dosage adjustments, with prognosis.",
    ),
    (
        2,
        "Design a consensus protocol that tolerates byzantine faults with linearizability under partial synchrony; prove safety and analyze its message complexity against Raft and Paxos.",
    ),
    (
        2,
        "Build a stochastic model for hedging a portfolio of derivatives; derive the martingale measure and evaluate the valuation error under discrete rebalancing.",
    ),
    (
        2,
        "Review this design for threat models: cryptographic key rotation in a multi-tenant kernel module. Analyze side channels, evaluate trade-offs, and propose mitigations step by step.",
    ),
    (
        2,
        "Explain why the posterior of this Bayesian model is improper, derive conditions under which it is proper, and compare it with a causal approach given confounders and an instrumental variable.",
    ),
    (
        2,
        "Is the regulatory treatment of securitization under IFRS different from GAAP? Analyze covenant implications and amortization effects for a mid-size bank.",
    ),
    (
        2,
        "Why does the compiler reorder this? ```c\nint x=0; ``` Prove, using the memory model, whether the kernel code is linearizable, and design a fix without locks.",
    ),
    (2, "Beweise den Satz von Bolzano-Weierstraß Schritt für Schritt und begründe jeden Schritt."),
    (0, "yo"),
    (0, "can you tell me a joke"),
    (0, "I forgot my PIN, what now?"),
    (0, "how tall is mount everest"),
    (0, "Turn this into past tense: I go home."),
    (0, "what's your refund policy"),
    (0, "My name is Petra."),
    (0, "Fix the typo: 'recieve'"),
    (0, "Is tomorrow a holiday in Germany?"),
    (0, "Say that again in French."),
    (0, "Give me the phone number of support"),
    (0, "Any news on ticket 88?"),
    (0, "When was the Eiffel Tower built?"),
    (0, "Which plan includes SSO?"),
    (0, "Make this sentence shorter: We would like to inform you that the office will be closed."),
    (
        1,
        "Our checkout got slower since last Tuesday's release. Here are the p95 numbers by day: 310, 305, 330, 720, 735. What could have happened and how would you find out?",
    ),
    (
        1,
        "Turn these meeting notes into action items with owners and due dates: Ana will call the vendor next week; Ben drafts the contract; legal needs ten days; launch on the 14th.",
    ),
    (1, "Write a regex that matches German license plates and tell me where it would go wrong."),
    (
        1,
        "I have 40k saved and a mortgage at 4 percent. Should I pay it down or invest? Walk me through the arguments on both sides.",
    ),
    (
        1,
        "Create a SQL schema for a library with members, loans and reservations, and the query for overdue books per member.",
    ),
    (
        1,
        "Rewrite this cover letter for a data analyst position; keep my tone, cut it to half, and mention my two years with Tableau.",
    ),
    (
        1,
        "We have three suppliers. A is cheapest but late, B is reliable and 12% dearer, C is new. Which should we pick for a product that ships in March?",
    ),
    (1, "My kid is 7 and asks how airplanes fly. Make a ten minute lesson with an experiment we can do at home."),
    (
        1,
        "Read the contract summary below and tell me which of the deadlines collide with our vacation in August: notice by 3 Aug, payment 10 Aug, delivery 20 Aug.",
    ),
    (1, "What are good ways to reduce churn for a small SaaS and which would you try first?"),
    (1, "Implement binary search in Go with tests."),
    (1, "If a shirt costs 20% less after a 25% increase, what was the net change? Explain."),
    (
        1,
        "Schreibe eine Antwort auf diese Beschwerde: freundlich, höchstens 100 Wörter, ohne Schuldeingeständnis, mit Gutschein über 10 Euro.",
    ),
    (
        2,
        "Show that the halting problem remains undecidable for programs restricted to polynomial memory descriptions, or explain precisely why it does not.",
    ),
    (
        2,
        "Our Raft cluster lost two committed entries after a leader change with a stale snapshot. Reconstruct possible interleavings and say which invariant was broken.",
    ),
    (
        2,
        "Draft a motion to dismiss for lack of personal jurisdiction, considering the minimum contacts test and recent case law on online sellers.",
    ),
    (
        2,
        "A patient with heart failure and CKD stage 4 needs anticoagulation. Compare the options including dosage, interactions and monitoring, and cite the reasoning of current guidelines.",
    ),
    (2, "Derive the Black-Scholes equation under stochastic volatility and discuss calibration to a smile."),
    (2, "Is P equal to NP?"),
    (
        2,
        "Design the sharding and failover of a payments ledger for 50,000 transactions per second in three regions with exactly-once semantics and an auditor who wants proofs.",
    ),
    (
        2,
        "Estimate the treatment effect when compliance is imperfect and there is spillover between villages; propose an identification strategy and its weaknesses.",
    ),
]

FRESH = [
    (0, "good evening"),
    (0, "Do you have this in blue?"),
    (0, "What does 'ubiquitous' mean?"),
    (0, "tell me the population of Peru"),
    (0, "How many days are in February 2028?"),
    (0, "Sort these alphabetically: pear, apple, fig"),
    (0, "I can't log in"),
    (0, "Is breakfast included?"),
    (0, "Please send me last month's invoice."),
    (0, "Change the title to 'Quarterly report'."),
    (0, "Who is the CEO of Siemens?"),
    (0, "Answer yes or no: is 17 prime?"),
    (
        1,
        "The nightly backup takes six hours and blocks the morning import. Suggest three ways to fix that and rank them by effort.",
    ),
    (1, "Write unit tests for a function that parses ISO 8601 durations, including the odd cases."),
    (1, "I'm torn between two job offers: one pays 15% more but needs two hours of commuting a day. Help me decide."),
    (
        1,
        "Convert this cron job into a Kubernetes CronJob manifest and tell me what changes in behaviour: 0 3 * * * /usr/bin/report --daily",
    ),
    (
        1,
        "Explain to a new colleague how our returns process works, from label to refund, in a friendly one-page guide.",
    ),
    (
        1,
        "What went wrong in this conversation and how should the agent have answered? Customer: my parcel is lost. Agent: please wait 14 days.",
    ),
    (1, "Group these 12 survey comments into themes and give each theme a headline and a count."),
    (1, "How would you split a monolith with one shared database into services without stopping feature work?"),
    (
        1,
        "Plan the seating of 40 wedding guests at five tables so that exes do not sit together and children sit near their parents.",
    ),
    (
        1,
        "Add pagination to this endpoint, keep it backward compatible, and show the diff: app.get('/items', (req,res) => res.json(all))",
    ),
    (
        1,
        "Entwirf einen Wochenplan für das Training auf einen Halbmarathon in zwölf Wochen für jemanden, der zweimal pro Woche läuft.",
    ),
    (
        1,
        "Which of these two headlines will perform better with developers and why? 'Ship faster' or 'Fewer bugs, same sprint'",
    ),
    (
        2,
        "Give a constructive proof of Brouwer's fixed point theorem in dimension two and discuss why it is not fully constructive.",
    ),
    (
        2,
        "Analyse whether a non-compete signed in California is enforceable against an engineer now living in Munich, with the conflict-of-laws arguments on each side.",
    ),
    (
        2,
        "Work out a differential for a 30-year-old with fever, migratory arthralgia and a new murmur, and order the investigations by yield.",
    ),
    (
        2,
        "Find the race in this hazard-pointer reclamation scheme and prove your fix correct under the C++ memory model.",
    ),
    (
        2,
        "Construct a transfer-pricing defence for an intangible moved to Ireland in 2019 under the arm's length principle.",
    ),
    (
        2,
        "Design a differential privacy budget for weekly releases of census tables and bound the total loss under adaptive composition.",
    ),
    (
        2,
        "Why does my variational autoencoder suffer posterior collapse, and derive a bound that shows when annealing helps.",
    ),
    (
        2,
        "Evaluate the seismic retrofit options for an unreinforced masonry school under Eurocode 8, with the load paths.",
    ),
]
