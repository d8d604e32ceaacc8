"""How one training loop runs on one or many workers: `strategy` has what they share."""
