"""The stages of a run, as plain functions: label, train, evaluate.

Each takes a loaded config, does what is not yet done, leaves its artifacts in the workspace and
returns what came out. The command line adds only words to them; a notebook calls them like this:

    config = load_config(Path("configs/packing_line.yaml"))
    label(config), train(config), evaluate(config)
"""

from pipeline.stages.common import StageResult
from pipeline.stages.evaluate import evaluate
from pipeline.stages.label import label
from pipeline.stages.prompts import review_prompts
from pipeline.stages.train import train

__all__ = ["StageResult", "evaluate", "label", "review_prompts", "train"]
