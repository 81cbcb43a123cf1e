"""Prompt templates: the allow-list of Jinja2 that specs may use, and their rendering."""
