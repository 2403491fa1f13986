"""Tables, plots and comparisons of runs, made from their journals alone."""

from modyn.reports.compare import Comparison, compare, pareto_front
from modyn.reports.html import write_html

__all__ = ["Comparison", "compare", "pareto_front", "write_html"]
