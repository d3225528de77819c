"""Training on local models, for every craft that changes weights. Only `settings` may be imported without torch."""
