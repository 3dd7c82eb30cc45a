"""`torch.cov`, which takes all rows in float32 at once; widening half precision is not charged to it."""

from __future__ import annotations

from typing import Any

import torch

from clinometer.bench.problem import Problem

from . import Settings
from .torch_peer import VERSION, set_threads, tensor

__all__ = ["KERNELS", "VERSION", "set_threads"]


def covariance(p: Problem) -> Settings:
    """Covariance (d, d)."""
    columns = tensor(p.rows).to(torch.float32).T

    def call() -> Any:
        return torch.cov(columns, correction=0).numpy()

    return {"torch.cov": call}


KERNELS = {"covariance": covariance}
