"""The first stage: traces, by giving prompts and texts to a model."""
