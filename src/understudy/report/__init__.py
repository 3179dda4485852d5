"""What a run found out, told to people: one HTML page, one JSON file, one Markdown table, one sentence.

Reads facts only (`facts.py`, plain JSON); knows no model, no metric and no folder of a run. Gathering the
facts is the pipeline's work. The page itself is imported from `report.page`: it draws with matplotlib.
"""

from understudy.report.facts import Facts, write_json
from understudy.report.tables import markdown_table
from understudy.report.verdict import five_numbers, verdict

__all__ = ["Facts", "five_numbers", "markdown_table", "verdict", "write_json"]
