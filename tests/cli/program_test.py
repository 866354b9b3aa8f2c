# SPDX-License-Identifier: Apache-2.0
"""The program as a user meets it: help, usage errors, refusals, keys, completion, the manual page."""

import json
import os
import pathlib
import socket
import stat
import subprocess
import sys
import tempfile
import unittest

GODWIT = os.environ["GODWIT"]


def godwit(*arguments, **environment):
    return subprocess.run([GODWIT, *arguments], capture_output=True, text=True, timeout=60,
                          stdin=subprocess.DEVNULL, env={**os.environ, **environment})


class Program(unittest.TestCase):
    def setUp(self):
        self._folder = tempfile.TemporaryDirectory()
        self.addCleanup(self._folder.cleanup)
        self.folder = pathlib.Path(self._folder.name)

    def test_help_names_every_command_and_shows_examples(self):
        result = godwit("--help")
        self.assertEqual(result.returncode, 0)
        for word in ("send", "receive", "cancel", "status", "probe", "bench", "report", "keygen", "completion", "--psk-file"):
            self.assertIn(word, result.stdout)
        for command in ("send", "receive", "cancel", "bench", "keygen"):
            self.assertIn("Example", godwit(command, "--help").stdout)

    def test_hidden_options_are_not_in_the_help(self):
        self.assertNotIn("--test-", godwit("send", "--help").stdout + godwit("--help-all").stdout)

    def test_wrong_usage_exits_with_2(self):
        for arguments in ([], ["fly"], ["send"], ["send", "--qmp", "x", "--to", "x", "--bandwidth-limit", "10"],
                          ["send", "--qmp", "x", "--to", "x", "--downtime-limit", "soon"],
                          ["send", "--qmp", "x", "--to", "x", "--lanes", "0"],
                          ["send", "--qmp", "x", "--to", "x", "--psk-file", "k", "--insecure"]):
            result = godwit(*arguments)
            self.assertEqual(result.returncode, 2, (arguments, result.stderr))
            self.assertTrue(result.stderr)

    def test_other_hosts_are_refused_without_security(self):
        for arguments in (["send", "--to", "192.0.2.1:7471"], ["receive", "--listen", "0.0.0.0:7471"]):
            report = self.folder / "report.json"
            result = godwit(*arguments, "--qmp", "/nonexistent", "--json", str(report))
            self.assertEqual(result.returncode, 4, result.stderr)
            self.assertIn("--insecure", result.stderr)
            self.assertEqual(json.loads(report.read_text())["status"], "refused")

    def test_json_on_stdout_is_nothing_but_json(self):
        result = godwit("send", "--to", "192.0.2.1:7471", "--qmp", "/nonexistent", "--json", "-")
        self.assertEqual(json.loads(result.stdout)["error"]["code"], "refused")

    def test_report_that_cannot_be_written_is_found_before_anything_is_done(self):
        for option in ("--json", "--report"):
            result = godwit("send", "--to", "127.0.0.1:1", "--qmp", "/nonexistent", option, "/nonexistent/report")
            self.assertEqual(result.returncode, 4)
            self.assertIn("/nonexistent/report", result.stderr)

    def test_migration_that_is_refused_has_its_page_too(self):
        page = self.folder / "page.html"
        self.assertEqual(godwit("send", "--to", "192.0.2.1:7471", "--qmp", "/nonexistent", "--report", str(page)).returncode, 4)
        self.assertIn('"status":"refused"', page.read_text())

    def run_file(self, name, **fields):
        path = self.folder / name
        path.write_text(json.dumps(fields))
        return str(path)

    def test_runs_are_compared_and_what_is_no_run_is_refused(self):
        bench = self.run_file("bench.json", schema=1, paths=[], latency=[],
                              bandwidth=[{"verb": "read", "size_bytes": 4096, "bytes_per_s": 2e9}])
        move = self.run_file("move.json", schema=1, session="00c0ffee00c0ffee", status="completed", rounds=[], downtime_ms=12.5)
        page = self.folder / "page.html"
        result = godwit("report", bench, bench, "--report", str(page))
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertRegex(result.stdout, r"(?m)^read 4 KiB +2\.00 GB/s +2\.00 GB/s +\+0 %$")
        self.assertIn("<!doctype html>", page.read_text())
        result = godwit("report", move, "--report", "-")
        self.assertTrue(result.stdout.startswith("<!doctype html>") and result.stdout.rstrip().endswith("</html>"))
        self.assertIn("12.5 ms", result.stderr)
        later = self.run_file("later.json", schema=9, paths=[], latency=[], bandwidth=[])
        other = self.run_file("other.json", schema=1)
        for arguments, code, word in (([later], 4, "later Godwit"), ([other], 4, "is no run"), ([bench, move], 4, "one kind"),
                                      (["/nonexistent/run"], 4, "/nonexistent/run"), ([str(self.folder)], 4, "Is a directory"),
                                      ([bench, "--report", "/nonexistent/page"], 4, "/nonexistent/page"),
                                      ([bench, "--report", "/dev/full"], 1, "/dev/full"), ([], 2, "RUN.json")):
            result = godwit("report", *arguments)
            self.assertEqual(result.returncode, code, (arguments, result))
            self.assertIn(word, result.stderr)

    def test_run_that_is_given_as_its_own_page_is_read_first(self):
        move = self.run_file("move.json", schema=1, session="00c0ffee00c0ffee", status="completed", rounds=[])
        self.assertEqual(godwit("report", move, "--report", move).returncode, 0)
        self.assertIn("00c0ffee00c0ffee", pathlib.Path(move).read_text())

    def test_keygen_makes_a_private_key_and_never_overwrites(self):
        key = self.folder / "key"
        self.assertEqual(godwit("keygen", str(key)).returncode, 0)
        self.assertRegex(key.read_text(), r"\A[0-9a-f]{64}\n\Z")
        self.assertEqual(stat.S_IMODE(key.stat().st_mode), 0o600)
        self.assertNotEqual(godwit("keygen", str(key)).returncode, 0)

    def test_status_of_an_idle_host_is_an_empty_list(self):
        result = godwit("status", "--json", GODWIT_RUNTIME_DIR=str(self.folder / "run"))
        self.assertEqual((result.returncode, json.loads(result.stdout)), (0, []))

    def test_unknown_session_is_said_to_be_unknown(self):
        for arguments in (["cancel", "00c0ffee00c0ffee"], ["cancel", "../../etc"], ["status", "00c0ffee00c0ffee"]):
            result = godwit(*arguments, GODWIT_RUNTIME_DIR=str(self.folder / "run"))
            self.assertEqual(result.returncode, 1)
            self.assertIn("no session", result.stderr)

    def test_probe_says_what_is_missing(self):
        result = godwit("probe", "--json")
        probe = json.loads(result.stdout)
        self.assertEqual(result.returncode, 0 if probe["ready"] else 1)
        names = {finding["name"] for finding in probe["findings"]}
        self.assertLessEqual({"dirty-tracking", "attaching", "io-uring", "numa", "kvm"}, names)

    def test_probe_tells_the_nodes_of_this_host(self):
        numa = json.loads(godwit("probe", "--json").stdout)["numa"]
        numbers = [node["node"] for node in numa["nodes"]]
        self.assertTrue(numbers)
        cpus = {cpu for node in numa["nodes"] for cpu in node["cpus"]}
        self.assertLessEqual(os.sched_getaffinity(0), cpus)
        for node in numa["nodes"]:
            self.assertEqual(len(node["distances"]), len(numbers))
        for device in numa["devices"]:
            self.assertIn(device["node"], [*numbers, None])
        text = godwit("probe").stdout
        for number in numbers:
            self.assertRegex(text, rf"(?m)^ +node {number} .*CPUs .*, distances ")

    def test_agents_can_be_watched(self):
        for command in (["send"], ["receive"], ["relay", "listen"], ["relay", "connect"], ["bench", "serve"]):
            self.assertIn("--metrics", godwit(*command, "--help").stdout)
        for address in ("host", "", "1.2.3.4:port"):
            result = godwit("receive", "--qmp", "x", "--listen", "127.0.0.1:0", "--metrics", address)
            self.assertEqual(result.returncode, 2, result.stderr)

    def test_address_of_metrics_that_is_taken_is_found_before_anything_is_done(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            for command in (["receive", "--qmp", "/nonexistent", "--listen", "127.0.0.1:0"],
                            ["relay", "listen", "--unix", str(self.folder / "out.sock"), "--to", "127.0.0.1:1"],
                            ["bench", "serve", "--listen", "127.0.0.1:0"]):
                result = godwit(*command, "--metrics", address)
                self.assertEqual(result.returncode, 4, result.stderr)
                self.assertIn(f"--metrics: listen on {address}: Address already in use", result.stderr)
            self.assertFalse((self.folder / "out.sock").exists())

    def test_completion_completes_options(self):
        script = self.folder / "completion"
        script.write_text(godwit("completion", "bash").stdout)
        words = subprocess.run(
            ["bash", "-c", f'source {script}; COMP_WORDS=(godwit send --down); COMP_CWORD=2; _godwit; '
             'echo "${COMPREPLY[@]}"'], capture_output=True, text=True, check=True).stdout.split()
        self.assertEqual(words, ["--downtime-limit"])

    def test_completion_completes_commands(self):
        script = self.folder / "completion"
        script.write_text(godwit("completion", "bash").stdout)
        words = subprocess.run(
            ["bash", "-c", f'source {script}; COMP_WORDS=(godwit re); COMP_CWORD=1; _godwit; '
             'echo "${COMPREPLY[@]}"'], capture_output=True, text=True, check=True).stdout.split()
        self.assertEqual(words, ["receive", "relay", "resume", "report"])

    def test_closed_output_does_not_kill_it(self):
        reader, writer = os.pipe()
        os.close(reader)
        result = subprocess.run([GODWIT, "status"], stdout=writer, stderr=writer, timeout=60,
                                env={**os.environ, "GODWIT_RUNTIME_DIR": str(self.folder / "run")})
        os.close(writer)
        self.assertEqual(result.returncode, 0)

    def test_version_names_the_program(self):
        self.assertEqual(godwit("--version").stdout.split()[0], "godwit")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
