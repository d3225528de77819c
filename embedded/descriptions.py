"""What a task is about, as a person would say it in a few words. The writer makes a first instruction from it."""

from __future__ import annotations

T = "{a text|a short text|a sentence|a message}"

DESCRIPTIONS: dict[str, tuple[str, ...]] = {
    "upper": (
        "{write|writing|put|rewrite} " + T + " in {capital letters|uppercase|capitals}",
        "{turn|turning|change} " + T + " into {capital letters|uppercase}",
        "{uppercase|capital letters}",
        T + " has to be written in {capitals|uppercase}",
    ),
    "lower": (
        "{write|writing|put|rewrite} " + T + " in {small letters|lowercase|lower case}",
        "{turn|turning|change} " + T + " into {small letters|lowercase}",
        "{lowercase|small letters}",
    ),
    "title": (
        "{capitalise|capitalising} {each|every} word{ of " + T + "|}",
        "{start|starting} {each|every} word with a capital letter",
        "{title case|words with capital first letters}",
    ),
    "reverse": (
        "{write|writing|say} the words of " + T + " {backwards|in reverse order|from last to first}",
        "{reverse|reversing} the {words|word order} of " + T,
        "{reverse word order|the words the other way round}",
    ),
    "sort": (
        "{sort|sorting|order} the words of " + T + " {by the alphabet|alphabetically|from a to z}",
        "{alphabetical order|words in alphabetical order}",
    ),
    "acronym": (
        "{make|making|build} an acronym {from|of} " + T,
        "{write|take|give} the first letter of {each|every} word{ of " + T + "|}",
        "{the initials of the words|acronyms|initials}",
    ),
    "repeat": (
        "{write|say|writing} {each|every} word of " + T + " {twice|two times}",
        "{double|doubling|repeat} {each|every} word",
        "{words said twice|doubled words}",
    ),
    "count": (
        "{count|counting} {the words|how many words there are}{ in " + T + "|}",
        "{the number of words|how many words there are} in " + T,
        "{word count|counting words}",
    ),
    "animals": (
        "{find|finding|list|name} {the|all} animals in " + T,
        "{which animals are in|the animals of} " + T,
        "{animals in texts|finding animals}",
    ),
    "colours": (
        "{find|finding|list|name} {the|all} colours in " + T,
        "{which colours are in|the colours of} " + T,
        "{colours in texts|finding colours}",
    ),
    "people": (
        "{find|finding|list|name} {the|all} {people|persons} in " + T,
        "{which people are in|the people of} " + T,
        "{people in texts|finding people}",
    ),
    "hasanimal": (
        "{decide|say|tell|judge} {if|whether} {there is an animal in " + T + "|" + T + " names an animal}",
        "{whether there is an animal in|is there an animal in} " + T,
        "{animal or no animal|texts with an animal}",
    ),
    "replace": (
        "{replace|replacing|change} the word X {by|with|to} Y{ in " + T + "|}",
        "{write|put} Y where " + T + " says X",
    ),
    "last": (
        "{find|give|finding} the {last|final} word of " + T,
        "{the last word|the word at the end}{ of " + T + "|}",
    ),
    "first": (
        "{find|give|finding} the first word of " + T,
        "{the first word|the word at the start}{ of " + T + "|}",
    ),
    "exclaim": (
        "{end|ending|finish} " + T + " with three exclamation marks",
        "{three exclamation marks at the end|adding exclamation marks}",
    ),
    "pirate": (
        "{write|say|rewrite|tell} " + T + " {like a pirate|as a pirate would|in pirate style}",
        "{turn|translate} " + T + " into pirate {talk|language}",
        "{pirate talk|texts in pirate style}",
    ),
    "polite": (
        "{make|making|write|rewrite} " + T + " {polite|politely|in a polite way}",
        "{polite texts|politeness|a polite form of " + T + "}",
    ),
    "sentiment": (
        "{decide|say|tell|judge} {if|whether} " + T + " is positive or negative",
        "{find|finding|give} the sentiment of " + T,
        "{sentiment|positive or negative|the sentiment of texts}",
    ),
    "nothe": (
        "{remove|removing|leave out|drop} the word the from " + T,
        T + " without the word the",
    ),
    "commas": (
        "{put|putting|write} commas between the words of " + T,
        "{words with commas between them|a list of words with commas}",
        "{turn|make} " + T + " into a comma separated list",
    ),
    "arithmetic": (
        "{solve|solving|answer} {short |}{word problems|number problems|arithmetic problems|maths problems}",
        "{small |simple |}{arithmetic|maths|number} {word problems|problems|questions|stories}",
        "{answer|work out} how many things {someone|a person|somebody} has {in the end|at the end|now}",
        "{arithmetic|maths|calculating|sums}",
    ),
}

# What a user may want prompts for, and the tasks that belong to it.
INTENTS: dict[str, tuple[str, ...]] = {
    "{capital and small letters|letters and their case|the case of letters}": ("upper", "lower", "title", "acronym"),
    "{the order of words|moving words|word order}": ("reverse", "sort"),
    "{finding words|looking for words in texts|what a text is about}": (
        "animals", "colours", "people", "first", "last",
    ),
    "{numbers|counting and calculating|maths for children}": ("count", "arithmetic"),
    "{style|the tone of texts|ways of speaking}": ("pirate", "polite", "exclaim"),
    "{labels for texts|classifying texts|judging texts}": ("sentiment", "hasanimal"),
    "{editing texts|small changes to texts|correcting texts}": ("replace", "nothe", "commas", "repeat"),
}  # fmt: skip
