# SPDX-License-Identifier: Apache-2.0
"""What scripts/bench-interconnect makes of figures: whose are divided by whose, and what is promised of them."""

import pathlib
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "tests/e2e")]

from interconnect import links, report, series  # noqa: E402
from interconnect.tools import BULK, bandwidth, cpu  # noqa: E402

LOOPBACK = links.Link("loopback", "", "127.0.0.1")


def results(**tools):
    return {("loopback", name.replace("_", " ")): runs for name, runs in tools.items()}


def found(all_results, name, sweep_s=20.0):
    return next(target for target in report.targets(LOOPBACK, all_results, sweep_s) if name in target["name"])


class Ratios(unittest.TestCase):
    def test_are_those_of_the_same_run(self):
        # The machine became twice as fast: each by itself says nothing, side by side they do.
        measured = results(godwit=[{"x": 12}, {"x": 24}, {"x": 36}], iperf3=[{"x": 10}, {"x": 20}, {"x": 30}])
        self.assertEqual(series.ratio(measured, "loopback", "x", "iperf3"), 1.2)

    def test_leave_out_runs_in_which_one_failed(self):
        measured = results(godwit=[{"x": 12}, {}, {"x": 11}], iperf3=[{}, {"x": 10}, {"x": 10}])
        self.assertEqual(series.ratio(measured, "loopback", "x", "iperf3"), 1.1)
        self.assertIsNone(series.ratio(measured, "loopback", "x", "qperf"))


class Targets(unittest.TestCase):
    def test_several_lanes_are_measured_against_the_best_of_iperf3(self):
        measured = results(godwit=[{bandwidth(BULK, 2): 8, bandwidth(BULK, 4): 9}],
                           iperf3=[{bandwidth(BULK, 1): 6, bandwidth(BULK, 4): 5}], iperf3_Z=[{bandwidth(BULK, 1): 10}])
        measured[("loopback", "iperf3 -Z")] = measured.pop(("loopback", "iperf3 Z"))
        target = found(measured, "several lanes")
        self.assertEqual((target["value"], target["ok"]), (0.9, False))

    def test_cpu_time_is_to_be_less(self):
        measured = results(godwit=[{cpu(BULK): 0.2}], iperf3=[{cpu(BULK): 0.25}])
        self.assertTrue(found(measured, "CPU")["ok"])
        measured = results(godwit=[{cpu(BULK): 0.3}], iperf3=[{cpu(BULK): 0.25}])
        self.assertFalse(found(measured, "CPU")["ok"])

    def test_what_was_not_measured_is_not_reached(self):
        for target in report.targets(LOOPBACK, {}):
            self.assertIsNone(target["value"])
            self.assertFalse(target["ok"])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
