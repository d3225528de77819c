"""The words of the landscape. Which directive does what is drawn anew for each landscape; here are only the texts.

No directive may be a part of another, and none may stand in a request of a search: `world.reads` goes by the letter.
"""

from __future__ import annotations

CODES = ("grant", "refuse", "reship", "escalate", "voucher", "archive")
"""The answers. None of them is a word of a type, a directive, an opening or a request."""

TYPES = (
    "money back for a late parcel",
    "a broken item on arrival",
    "a wrong size of a coat",
    "a lost parcel in the post",
    "a bill that was paid twice",
    "a change of the address",
    "a gift without a receipt",
    "a question about the warranty",
)

NAMES = "Ada Ben Cleo Dan Eva Finn Gus Hana Ivo Jana Kai Lea Max Nia Olga Per".split()

DESCRIPTION = f"Decide what a shop does about an order. The answer is one word: {', '.join(CODES[:-1])} or {CODES[-1]}."

OPENINGS = (
    "Decide what is to be done about the order and answer with one word.",
    "Read the order and say in one word what the shop does.",
    "Given an order, name the right step in one word.",
    "You handle orders of a shop; give one word for what happens next.",
    "Look at the order below and choose the step that follows.",
    "For this order, tell which of the steps is the right one.",
    "Work through the order and write down the one step to take.",
    "What happens with this order? Reply with a single word.",
    "Act as a clerk of the shop and settle the order with one word.",
    "Settle the following order by naming one step.",
    "Your job is to pick the step that fits the order.",
    "An order needs a decision. State it in one word.",
)

DIRECTIVES = (
    "Check the date of the order first.",
    "Compare the weight with the list.",
    "Look up the customer's history.",
    "Count the days since delivery.",
    "Read the seller's notes twice.",
    "Ignore the colour of the packaging.",
    "Prefer the older of two records.",
    "Treat weekends as working days.",
    "Round all amounts down.",
    "Ask yourself who pays the freight.",
    "Consider the country of the sender.",
    "Take the customer at his word.",
    "Be strict about missing papers.",
    "Give the carrier three days' grace.",
    "Assume that photos are genuine.",
    "Think of the season of the year.",
    "Mind the difference between net and gross.",
    "Follow the newest policy sheet.",
    "Weigh the risk of fraud.",
    "Look for a second claim.",
    "Keep the stock level in mind.",
    "Imagine the reply of a lawyer.",
    "Start from the price paid.",
    "Set aside what is only hearsay.",
    "Verify the account number.",
    "Use the tone of a friend.",
    "Say each step to yourself.",
    "Answer as quickly as you can.",
    "Distrust round numbers.",
    "Put yourself in the buyer's place.",
    "Remember the opening hours.",
    "Recall how the last case ended.",
    "Separate facts from wishes.",
    "Estimate the value of the goods.",
    "Note which warehouse was involved.",
    "Watch for a changed signature.",
    "Favour the cheaper way out.",
    "Exclude goods made to measure.",
    "Confirm that the seal is whole.",
    "Test the claim against the map.",
    "Leave the shipping class out of it.",
    "Let long service count.",
    "Begin with the last message.",
    "Compare with the cases of last month.",
    "Be generous with small sums.",
    "Suspect a mistake of the scanner.",
    "Honour what the hotline promised.",
    "Deduct the days of a strike.",
    "Treat a gift card like cash.",
    "Search for the word urgent.",
    "Respect the wish of the receiver.",
    "Convert foreign money first.",
    "Trust the tracking more than the letter.",
    "Consult the table of fees.",
    "Skip greetings and thanks.",
    "Mark what has been opened.",
)

FILLERS = (
    "", "", "", "Take care.", "This matters.", "Be thorough.", "Stay calm.", "Do your best.", "Pay attention.",
    "Thank you.",
)  # fmt: skip
"""Last words that do nothing."""

MUTATION_PROMPTS = (
    "Say this instruction in other words.",
    "Make this instruction more precise.",
    "Add a rule that helps to this instruction.",
    "Leave out of this instruction what does not help.",
    "Change one thing in this instruction.",
)
"""What the writer answers where a request is asked for instead of an instruction."""
