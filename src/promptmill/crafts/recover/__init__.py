"""recover: from texts that a model wrote to the prompt behind them, ranked, with a confidence."""
