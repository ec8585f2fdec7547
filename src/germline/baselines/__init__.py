"""Controls and baselines that methods are compared with."""
