"""Put a prompt into the weights (Prompt Baking, arXiv 2409.13697).

The first stage: trajectories of the prompted model (config, questions, contexts, draw, sample, trajectories, original),
how far there is to go (difficulty), and what was brought (report).
"""
