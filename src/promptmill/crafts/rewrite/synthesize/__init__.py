"""The first stage: base prompts, variations and inputs, from intents or from prompts of one's own."""
