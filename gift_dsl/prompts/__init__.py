"""Prompt templates: the allow-list of Jinja2 that specs may use, their rendering, and the wordings that ship.

Importing this package does not import Jinja2: a spec without templates of its own is validated without it.
"""

from __future__ import annotations

from gift_dsl.prompts.library import VARIABLES, load_template, shipped_templates, variables_of
from gift_dsl.prompts.render import PromptError, PromptTooLong, render_prompt
from gift_dsl.prompts.subset import TemplateProblem, check_template

__all__ = [
    "VARIABLES",
    "PromptError",
    "PromptTooLong",
    "TemplateProblem",
    "check_template",
    "load_template",
    "render_prompt",
    "shipped_templates",
    "variables_of",
]
