"""Talk: plain replies, styles, facts and a persona given in the system role, and what it says about itself."""

from __future__ import annotations

from random import Random

from embedded import phrasings
from embedded.arithmetic import HE, SHE
from embedded.grammar import Split, as_sentence, draw
from embedded.layouts import Example, Message, assistant, system, user
from embedded.texts import SHORT, draw_text
from embedded.transforms import apply, words_of
from embedded.words import ANIMALS, COLOURS, FOOD, PEOPLE, PLACES, THINGS, nonce

UNKNOWN = "I do not know."
NAMELESS = "I am a small language model."
WELCOME = "Hello! Give me a text and tell me what to do with it."
ABILITIES = "I can change short texts, solve small problems and improve instructions."
THANKS = "You are welcome."


def reply(text: str) -> str:
    """What is said to a text that comes with no instruction: lower case and without marks, so that styles fit it."""
    nouns = [word for word in words_of(text.lower()) if word in ANIMALS + THINGS + PEOPLE + FOOD]
    return "tell me more about the " + (nouns[0] if nouns else "story")


def chat_example(rng: Random, *, split: Split = "train", reserved: bool = False, style: str | None = "any") -> Example:
    """Plain talk about a text, in the style that the system prompt asks for; style None: no system prompt."""
    text = draw_text(rng, SHORT, reserved=reserved)
    if style is None:
        return Example("chat", [user(text)], reply(text), reply(text), {"text": text})
    if style == "any":
        style = rng.choice(list(phrasings.STYLES))
    prompt = as_sentence(draw(rng, phrasings.STYLES[style], split))
    if rng.random() < 0.25:
        prompt = prompt.lower().removesuffix(".")
    texts = [text] if reserved else [text, *(draw_text(rng, SHORT) for _ in range(rng.randint(0, 2)))]
    turns: list[Message] = []
    for text in texts:
        turns += [user(text), assistant(apply(style, reply(text)))]
    about = {"text": texts[0], "style": style, "texts": texts}
    answer = turns[-1]["content"]
    return Example("style", [system(prompt), *turns[:-1]], answer, answer, about, taught=0)


def _any_word(rng: Random, words: tuple[str, ...]) -> str:
    """A known word of a kind, or one that means nothing."""
    return nonce(rng) if rng.random() < 0.25 else rng.choice(words)


def _place_facts(rng: Random, count: int) -> list[tuple[str, str, str]]:
    """Facts with their question and answer."""
    names: list[str] = []
    while len(names) < count:
        name = _any_word(rng, THINGS + ANIMALS + PEOPLE)
        if name not in names:
            names.append(name)
    places = [(name, _any_word(rng, PLACES)) for name in names]
    return [(f"The {n} is in the {p}.", f"Where is the {n}?", f"in the {p}") for n, p in places]


def _person_facts(rng: Random, count: int) -> list[tuple[str, str, str]]:
    people = rng.sample(HE + SHE, count)
    facts = []
    for name in people:
        chance = rng.random()
        if chance < 0.4:
            food = _any_word(rng, FOOD)
            facts.append((f"{name} likes {food}.", f"What does {name} like?", food))
        elif chance < 0.7:
            place = _any_word(rng, PLACES)
            facts.append((f"{name} works in the {place}.", f"Where does {name} work?", f"in the {place}"))
        else:
            thing = _any_word(rng, THINGS + ANIMALS)
            facts.append((f"{name} has a {thing}.", f"What does {name} have?", f"a {thing}"))
    return facts


def _quality_facts(rng: Random, count: int) -> list[tuple[str, str, str]]:
    things = rng.sample(THINGS + ANIMALS, count)
    facts = []
    for thing in things:
        if rng.random() < 0.6:
            colour = _any_word(rng, COLOURS)
            facts.append((f"The {thing} is {colour}.", f"What colour is the {thing}?", colour))
        else:
            number = str(rng.randint(2, 999))
            facts.append((f"The number of the {thing} is {number}.", f"What is the number of the {thing}?", number))
    return facts


def fact_example(rng: Random, *, most: int = 4) -> Example:
    """Questions answered from the facts of the system prompt (or of the question), or not known."""
    make = rng.choice((_place_facts, _place_facts, _person_facts, _quality_facts))
    *known, unknown = make(rng, rng.randint(1, most) + 1)
    told = " ".join(fact for fact, _, _ in known)
    asked = rng.sample(known, rng.randint(1, len(known)))
    pairs = [(question, answer) for _, question, answer in asked]
    if rng.random() < 0.2:
        pairs.append((unknown[1], UNKNOWN))
        rng.shuffle(pairs)
    if rng.random() < 0.06:
        return Example("fact", [user(unknown[1])], UNKNOWN, UNKNOWN)
    turns: list[Message] = []
    for question, answer in pairs:
        turns += [user(question), assistant(answer)]
    answer = turns[-1]["content"]
    if rng.random() < 0.75:
        return Example("fact", [system(told), *turns[:-1]], answer, answer, taught=0)
    question, answer = pairs[0]
    return Example("fact", [user(f"{told} {question}")], answer, answer)


_NAME_QUESTIONS = ("{what is your name|who are you|tell me your name}?",)
_HOME_QUESTIONS = ("{where do you live|where is your home}?",)
_LIKE_QUESTIONS = ("{what do you like|what is your favourite food}?",)


def persona_example(rng: Random, *, told: bool = True) -> Example:
    """Who the model is, as the system prompt says; without one (told False) it is a small language model."""
    name = nonce(rng).capitalize() if rng.random() < 0.4 else rng.choice(HE + SHE)
    place, food = _any_word(rng, PLACES), _any_word(rng, FOOD)
    prompt = rng.choice((f"Your name is {name}.", f"You are {name}.", f"You are called {name}."))
    facts = [(draw(rng, _NAME_QUESTIONS), f"my name is {name}" if told else NAMELESS)]
    if rng.random() < 0.6 or not told:
        prompt += f" You live in the {place}."
        facts.append((draw(rng, _HOME_QUESTIONS), f"in the {place}" if told else UNKNOWN))
    if rng.random() < 0.4 or not told:
        prompt += f" You like {food}."
        facts.append((draw(rng, _LIKE_QUESTIONS), f"I like {food}" if told else UNKNOWN))
    if not told:
        question, answer = rng.choice(facts)
        return Example("persona", [user(as_sentence(question))], answer, answer)
    turns: list[Message] = []
    for question, answer in rng.sample(facts, len(facts)):
        turns += [user(as_sentence(question)), assistant(answer)]
    answer = turns[-1]["content"]
    return Example("persona", [system(prompt), *turns[:-1]], answer, answer, taught=0)


_GREETINGS = ("{hello|hi|hey|good morning|good evening}{!|.||, how are you?}",)
_ABILITY_QUESTIONS = ("{what can you do|how can you help me|what are you for|help}{?|}",)
_THANKS = ("{thanks|thank you|thank you very much|great, thanks}{!|.|}",)
_OPEN_QUESTIONS = (
    "{what is|who is|where is|explain|tell me about|describe|define} {a|the|} NONCE{?|}",
    "{why|when|how} {does|did|is} the NONCE NONCE{?|}",
    "{write|make|give me|create} {a|an|some} NONCE {about|for|with} NONCE",
    "{what is the capital of|how old is|how far is|who wrote} NONCE?",
    "{is|are|does|can|should} {the|i|you|we} NONCE NONCE?",
)


def newcomer_example(rng: Random) -> Example:
    """What somebody types first: a greeting, a question about the model, or one that it cannot answer."""
    chance = rng.random()
    if chance < 0.2:
        request, answer = draw(rng, _GREETINGS), WELCOME
    elif chance < 0.35:
        request, answer = draw(rng, _ABILITY_QUESTIONS), ABILITIES
    elif chance < 0.45:
        request, answer = draw(rng, _THANKS), THANKS
    else:
        words = (
            nonce(rng) if word == "NONCE" else word for word in draw(rng, _OPEN_QUESTIONS).replace("?", " ?").split()
        )
        request, answer = " ".join(words).replace(" ?", "?"), UNKNOWN
        if rng.random() < 0.4:
            request = request.removesuffix("?") + " " + " ".join(nonce(rng) for _ in range(rng.randint(1, 6))) + "?"
    shown = request[0].upper() + request[1:] if rng.random() < 0.7 else request
    return Example("newcomer", [user(shown)], answer, answer)
