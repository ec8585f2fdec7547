"""Reports of comparisons and genes."""
