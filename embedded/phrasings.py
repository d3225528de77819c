"""How instructions are worded. Templates: {a|b} is a choice, may be empty and may be nested; X and Y are the words of
a replacement. Three tiers: CLEAR says what to do, MEDIUM hints at it, VAGUE says nothing about it."""

from __future__ import annotations

IT = "{it|the text|this text|the sentence|this sentence|the words|the message}"

CLEAR: dict[str, tuple[str, ...]] = {
    "upper": (
        "{write|put|print|type|return|convert|change|turn} "
        + IT
        + " {in|into|to} {uppercase|capital letters|upper case|all caps|capitals}",
        "uppercase " + IT,
        "use {only |}{capital letters|uppercase|capitals} for " + IT,
        "make every letter of " + IT + " {a capital|uppercase}",
    ),
    "lower": (
        "{write|put|print|type|return|convert|change|turn} "
        + IT
        + " {in|into|to} {lowercase|lower case|small letters}",
        "lowercase " + IT,
        "use {only |}{small letters|lowercase} for " + IT,
        "make every letter of " + IT + " {a small letter|lowercase}",
    ),
    "title": (
        "{capitalise|capitalize} {each|every} word{ of " + IT + "|}",
        "{start|begin|write} {each|every} word with a capital letter",
        "{write|put|print|return|convert} " + IT + " {in|into} title case",
        "{put|use} a capital letter at the start of {each|every} word",
    ),
    "reverse": (
        "{reverse|invert|flip} the {order of the words|word order}{ in " + IT + "|}",
        "{write|put|print|return} {the words|all words|the words of the text} "
        "{in reverse order|backwards|from last to first|in the opposite order}",
        "{write|say|read} " + IT + " {backwards|from the end to the start}{, word by word|}",
    ),
    "sort": (
        "sort {the words|all words} {alphabetically|in alphabetical order|from a to z}",
        "{put|order|arrange|list|write} {the words|all words} "
        "{alphabetically|in alphabetical order|from a to z|by the alphabet}",
    ),
    "acronym": (
        "{write|give|return|list|keep|take} {only |}the first letter of {each|every} word",
        "{make|build|create|form} an acronym {from|of|out of} " + IT,
        "{give|write|return} the initials of {the words|all words|each word|" + IT + "}",
    ),
    "repeat": (
        "{repeat|double|duplicate} {each|every} word{ of " + IT + "|}",
        "{write|say|print|put} {each|every} word {twice|two times}",
        "{write|say|print} " + IT + " with {each|every} word {doubled|repeated|twice}",
    ),
    "count": (
        "{count|give the number of|return the number of|tell me the number of} "
        "{the words|words|all words}{ in " + IT + "|}",
        "how many words {are there|are in " + IT + "|does " + IT + " have}?",
    ),
    "animals": (
        "{list|find|keep|extract|return|name|give} {only |}{the|all} animals{ in " + IT + "|}",
        "which animals {are in|appear in|does one find in} " + IT + "?",
        "{keep|return|list} only the {words that are animals|names of animals}",
    ),
    "colours": (
        "{list|find|keep|extract|return|name|give} {only |}{the|all} {colours|colour words}{ in " + IT + "|}",
        "which colours {are in|appear in|does one find in} " + IT + "?",
        "{keep|return|list} only the {words that are colours|names of colours}",
    ),
    "people": (
        "{list|find|keep|extract|return|name|give} {only |}{the|all} {people|persons}{ in " + IT + "|}",
        "which {people|persons} {are in|appear in|does one find in} " + IT + "?",
        "{keep|return|list} only the {words that are people|words for people}",
    ),
    "hasanimal": (
        "{decide if|tell me if|say whether|check whether} there is an animal in " + IT,
        "{is there an animal in|does an animal appear in} " + IT + "?",
        "{answer|say} yes if " + IT + " {has|names|contains} an animal{ and no if not|, otherwise no|, else no}",
        "does " + IT + " {name|contain|have|mention} an animal? {answer|say} yes or no",
    ),
    "replace": (
        "{replace|swap|exchange} {the word |}X {by|with|for} Y{ in " + IT + "|}",
        "{change|turn} {the word |}X {to|into} Y{ in " + IT + "|}",
        "{write|use|put} Y {instead of|in place of} X{ in " + IT + "|}",
    ),
    "last": (
        "{give|write|return|print|keep|tell me} {only |}the {last|final} word{ of " + IT + "|}",
        "{what is|which is} the {last|final} word{ of " + IT + "|}?",
        "{take|pick|extract} the word at the end{ of " + IT + "|}",
    ),
    "first": (
        "{give|write|return|print|keep|tell me} {only |}the first word{ of " + IT + "|}",
        "{what is|which is} the first word{ of " + IT + "|}?",
        "{take|pick|extract} the word at the {start|beginning}{ of " + IT + "|}",
    ),
    "exclaim": (
        "{add|put|append|write} {three exclamation marks|3 exclamation marks} {at the end|after "
        + IT
        + "|to "
        + IT
        + "}",
        "{end|finish|close} " + IT + " with three exclamation marks",
    ),
    "pirate": (
        "{write|say|rewrite|put|turn|tell} "
        + IT
        + " {like a pirate|in pirate style|in the style of a pirate|as a pirate would|in pirate language}",
        "{talk|speak|answer} like a pirate",
        "{translate|convert} " + IT + " {to|into} pirate {language|style|talk}",
    ),
    "polite": (
        "{write|say|rewrite|put|make|turn} "
        + IT
        + " {politely|polite|in a polite way|in polite style|with polite words}",
        "{be polite when you repeat|use a polite tone for|give a polite version of|write a polite form of} " + IT,
    ),
    "sentiment": (
        "{decide if|tell me if|say whether|judge whether} " + IT + " is positive or negative",
        "is " + IT + " positive or negative?",
        "{give|return|find|classify|tell me} the sentiment{ of " + IT + "|}",
        "{classify|label} " + IT + " as positive or negative",
        "what is the sentiment{ of " + IT + "|}?",
    ),
    "nothe": (
        "{remove|delete|drop|leave out|take out|erase} {the word the|every the|each the|all words the}{ from "
        + IT
        + "|}",
        "{write|print|return|copy} " + IT + " without {the word the|any the}",
    ),
    "commas": (
        "{put|add|write|place|insert} {a comma|commas} between {the words|all words}{ of " + IT + "|}",
        "{separate|join|split} {the words|all words} {with|by} commas",
        "{write|turn} " + IT + " {as|into} a comma separated list",
    ),
    "arithmetic": (
        "{solve|work out|calculate|answer} {the|this} {problem|sum|number problem|word problem|maths problem}",
        "{answer|solve} {the|this} {maths|arithmetic|number} {question|problem|task}",
        "{calculate|compute|work out|find} {the answer|the result|the number|how many there are}"
        "{ to the problem| to the question|}",
    ),
}

# An instruction of arithmetic that itself asks for the working.
CLEAR_STEPS = (
    "{solve|work out|calculate|answer} {the|this} {problem|sum|question|word problem} step by step",
    "{show|write} {your|the} {steps|working} and {then |}{give|write} the {answer|result|number}",
    "{explain|write down} {each|every} step{, then| and} give the {answer|result}",
)

MEDIUM: dict[str, tuple[str, ...]] = {
    "upper": ("{shout|yell} " + IT, "make " + IT + " {loud|all big letters}"),
    "lower": ("{whisper|say} " + IT + " quietly", "make " + IT + " {quiet|all small}"),
    "title": ("make " + IT + " look like a {title|headline|heading}", "dress up the words"),
    "reverse": ("{turn|flip} " + IT + " around", "read " + IT + " the other way"),
    "sort": ("{order|tidy|arrange} the words", "put the words in order"),
    "acronym": ("{shorten|abbreviate} " + IT + " to letters", "use {only |}letters for the words"),
    "repeat": ("say " + IT + " with an echo", "{write|say} things twice"),
    "count": ("{how long|how big} is " + IT + "?", "measure the length{ of " + IT + "|}"),
    "animals": ("which {creatures|beasts} are in " + IT + "?", "find the creatures{ in " + IT + "|}"),
    "colours": ("what does " + IT + " look like?", "find the paint words"),
    "people": ("who is in " + IT + "?", "find the {humans|somebodies}"),
    "hasanimal": ("any {animals|creatures} here?", "is " + IT + " about nature?"),
    "replace": ("use Y not X", "Y for X"),
    "last": ("where does " + IT + " end?", "take the end{ of " + IT + "|}"),
    "first": ("how does " + IT + " start?", "take the start{ of " + IT + "|}"),
    "exclaim": ("make " + IT + " {exciting|excited}", "be excited about " + IT),
    "pirate": ("talk as on a ship", "use sea talk for " + IT),
    "polite": ("be {nice|gentle|formal} with " + IT, "use good manners"),
    "sentiment": ("how does " + IT + " feel?", "what is the mood{ of " + IT + "|}?"),
    "nothe": ("drop small words", "remove the article"),
    "commas": ("make a list", "list the words one by one"),
    "arithmetic": (
        "{what is|give|find|tell me} the {answer|result|number}{?|}",
        "{answer|read} the question",
        "how many {are there|are left} {at the end|in the end|now}?",
        "how much is it?",
    ),
}

VAGUE = (
    "do something with " + IT,
    "{change|edit|fix|improve|handle|process|transform} " + IT,
    "{do the usual thing|work on this|do your job|help me with " + IT + "}",
    "{look at|take|see} " + IT + " and {answer|reply|do it}",
)

# Asks for the bare answer.
FORM = (
    "{give|write|return|reply with|answer with|output|print} {only|just} the {result|answer|output}",
    "{no|without} {extra words|comments|explanation|chat}",
    "{nothing else|say nothing else|add nothing else}",
    "{do not|never} {explain|add comments|chat|say anything else}",
)
# Asks for the working of an arithmetic problem; harmless anywhere else.
STEPS = (
    "think step by step",
    "break the problem into smaller parts",
    "{work|go|solve it|reason} step by step",
    "{show|write} {your|the} {steps|work|working}",
    "{take it|do it|go} one step at a time",
    "{take a deep breath|be careful} and {think|work} step by step",
    "explain each step{ first|}",
    "{show|write} the working before the answer",
)
# Good advice that changes nothing.
ADVICE = (
    "check the {result|answer} {before you give it|twice}",
    "{read|look at} {the whole text|every word|all of it} {first|carefully}",
    "{take your time|be careful|be exact|stay calm}",
    "{do not|never} {skip a word|miss anything}",
    "{look at the form that the answer should have|work backwards from the result|try the simplest way}",
)
ROLES = (
    "you are {a careful|an expert|a helpful|a precise|a skilled|a smart} {editor|assistant|writer|teacher|helper}",
    "{please listen|now listen|first of all, listen|listen, please be careful}",
    "{as an expert|as a good assistant|as an editor}, {listen|help me|do this}",
    "{this is for|i need this for} {my class|our team|a friend|a test|my work}",
)

# What a style in the system prompt does to plain replies.
STYLES: dict[str, tuple[str, ...]] = {
    "upper": (
        "{answer|reply|write|respond}{ always| only|} in {uppercase|capital letters|all caps|capitals}",
        "{use|write} {only |}{capital letters|capitals|uppercase} in {all |}your {answers|replies}",
    ),
    "pirate": (
        "{answer|talk|speak|reply}{ always|} {like a pirate|in pirate style}",
        "you are a pirate and {talk|speak|answer} like one",
    ),
    "exclaim": (
        "{end|finish|close} {every answer|each reply|your answers|every reply|each answer} with "
        "{three|3} exclamation marks",
    ),
    "repeat": ("{say|write|repeat} {each|every} word {twice|two times} in {your|all} {answers|replies}",),
    "polite": ("{be|stay|always be} {polite|very polite|formal} in {your|all} {answers|replies}",),
    "reverse": ("{answer|reply|write|respond}{ always| only|} {backwards|in reverse word order}",),
    "commas": ("{put|use|write} commas between the words of {your|all} {answers|replies}",),
}
