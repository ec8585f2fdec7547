"""HTML pages, plots, statistics and claims for reports, and the interface of report modules."""
