"""Small linear programs in batches, with witnesses anyone can evaluate (theory 8.3 and 9).

Every answer carries `lower` from its weights and `upper` from its prices; the status is drawn from those two,
evaluated in twice the working precision, and never from a solver's tolerance.
"""

from __future__ import annotations

from .candidates import Game, game
from .cone import cone, gram_cone
from .ensemble import constrained, ensemble
from .general import SolveResult, solve
from .pareto import ParetoResult, pareto, pareto_front
from .prompt import prompt
from .result import GramConeResult, LPResult, PromptResult

__all__ = [
    "Game", "GramConeResult", "LPResult", "ParetoResult", "PromptResult", "SolveResult", "cone", "constrained",
    "ensemble", "game", "gram_cone", "pareto", "pareto_front", "prompt", "solve",
]  # fmt: skip
