"""What a rewrite must never do."""
