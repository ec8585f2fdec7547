"""HTML pages, plots and statistics that reports are made of."""
