"""Why ultralytics would not train with a setting, found out before it is asked to."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from pipeline.yolo.geometry import augmentation

# isort: split
# After `geometry`, which has to set the environment first.
import torch
from ultralytics.cfg import CFG_BOOL_KEYS, get_cfg
from ultralytics.engine.trainer import BaseTrainer


def refusal(settings: dict[str, Any], key: str) -> str | None:
    """Return the reason why ultralytics would refuse one of the settings, or would pass it over
    in silence; None where it would take it.

    Args:
        settings: what it is told.
        key: of the one in question.
    """
    value = settings[key]
    if isinstance(value, bool) and key not in CFG_BOOL_KEYS:
        return "It is neither true nor false: give a number or a word."
    if key == "freeze" and (not isinstance(value, int) or value < 0):
        return "It is the number of layers that stay as they are."
    try:
        args = get_cfg(overrides=settings)
        augmentation("crop", args)
        if key in ("optimizer", "momentum"):  # only there: torch takes seconds to load optimizers
            _one_step(args)
    except (TypeError, ValueError, NotImplementedError, AssertionError) as error:
        text = " ".join(str(error).split()).split(" Request support")[0].rstrip(".")
        return f"ultralytics says: {text[:300]}."
    except ArithmeticError:
        return f"{args.optimizer} cannot compute with it."
    return None


def _one_step(args: Any) -> None:
    """Let the optimizer that ultralytics builds take a step on the smallest of models."""
    net = torch.nn.Module()
    net.model = torch.nn.Sequential(torch.nn.Linear(1, 1))  # MuSGD looks at a model's last layer
    told = SimpleNamespace(args=args, data={})
    optimizer = BaseTrainer.build_optimizer(
        told, net, args.optimizer, args.lr0, args.momentum, args.weight_decay
    )
    net.model(torch.ones(1, 1)).sum().backward()
    optimizer.step()
