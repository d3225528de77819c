"""What can go wrong, for a person: every error here is printed as one line, and the command ends with exit code 2."""

from __future__ import annotations


class PromptmillError(Exception):
    """Bad input or an unusable model. The message is one line that says what, where and how to mend it."""

    exit_code = 2


class InputError(PromptmillError):
    """A file, an option or a value given by the user cannot be used."""


class ModelError(PromptmillError):
    """The model or its server cannot be used at all (unknown, unreachable, no key): no call would succeed."""


class BudgetSpent(PromptmillError):
    """The hard budget does not allow the next call. What was answered is kept; the same command goes on."""

    exit_code = 3
