"""What comes out of an evaluation: its numbers, and how they are printed, drawn and kept."""

from mrt.evaluation.report.report import Report

__all__ = ["Report"]
