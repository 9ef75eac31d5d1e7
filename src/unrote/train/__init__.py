"""Training: recipes, one loss, a loop of ticks, exact checkpoints."""
