"""Presents the results of a run: an HTML page, a JSON file, Markdown tables and one sentence.

This package reads facts only (`facts.py`, plain JSON). It does not depend on models, metrics or the folders of a
run; the pipeline collects the facts. Import the page from `report.page`: it loads matplotlib.
"""

from understudy.report.facts import Facts, write_facts
from understudy.report.tables import markdown_tables
from understudy.report.verdict import five_numbers, verdict

__all__ = ["Facts", "five_numbers", "markdown_tables", "verdict", "write_facts"]
