"""The gain of a rewrite, foretold from the texts."""
