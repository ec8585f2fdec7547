"""Schema of recipes, checked before anything runs."""

from __future__ import annotations

from typing import Any

from germline.compare.recipe.checks import list_checks
from germline.compare.recipe.keys import RecipeKeys
from germline.errors import GermlineError


class Recipe(RecipeKeys):
    """A comparison whose keys are checked when it is made; `RecipeKeys` lists them."""

    def model_post_init(self, context: Any) -> None:
        """Check sizes, methods and arms, each alone and together.

        A context with a list `errors` gets all errors; without one, the first is raised.
        """
        errors = context.get("errors") if isinstance(context, dict) else None
        for check in list_checks(self):
            try:
                check()
            except GermlineError as error:
                if errors is None:
                    raise
                errors.append(error)
