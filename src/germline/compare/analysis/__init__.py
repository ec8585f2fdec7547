"""What a comparison's cells add up to."""
