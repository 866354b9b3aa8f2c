# SPDX-License-Identifier: Apache-2.0
"""From single runs to rows: of each profile, tool and metric the median and the range."""

import statistics

from .measure import METRICS


def rows(results, metrics=METRICS):
    """results: {(profile, tool): [{metric: value}]}; metrics: {metric: unit}. A metric that was not measured has no row."""
    made = []
    for (profile, tool), runs in results.items():
        for metric, unit in metrics.items():
            values = [run[metric] for run in runs if run.get(metric) is not None]
            if values:
                made.append({"tool": tool, "profile": profile, "metric": metric, "unit": unit,
                             "median": round(statistics.median(values), 3), "min": round(min(values), 3),
                             "max": round(max(values), 3), "runs": len(values)})
    return made


class Medians:
    """Looks the medians up."""

    def __init__(self, all_rows):
        self._rows = {(row["profile"], row["tool"], row["metric"]): row for row in all_rows}

    def get(self, profile, tool, metric):
        row = self._rows.get((profile, tool, metric))
        return row["median"] if row else None

    def best(self, profile, metric, prefix):
        """The least median of all tools whose name begins so."""
        values = [row["median"] for row in self._rows.values()
                  if row["profile"] == profile and row["metric"] == metric and row["tool"].startswith(prefix)]
        return min(values, default=None)

    def cell(self, profile, tool, metric, scale=1, digits=0):
        """"median [min..max]", as the tables have it."""
        row = self._rows[profile, tool, metric]
        median, low, high = (f"{row[key] / scale:.{digits}f}" for key in ("median", "min", "max"))
        return f"{median} [{low}..{high}]"
