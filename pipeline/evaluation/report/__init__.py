"""report.html: an evaluation as one file that needs no network."""

from pipeline.evaluation.report.made import how_made
from pipeline.evaluation.report.page import render_report

__all__ = ["how_made", "render_report"]
