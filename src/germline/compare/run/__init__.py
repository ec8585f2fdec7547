"""Run a comparison."""
