"""Recipes: schema and loader."""
