"""Seats that need no weights: random, scripted, solver, human, OpenAI-compatible servers, and pools of them."""
