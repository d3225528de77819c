"""A model that improves any prompt, learned from no data set: synthetic prompts, a panel of judges, preferences."""
