"""Analysis of a comparison's results: protocols, claims and regret."""
