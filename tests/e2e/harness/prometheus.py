# SPDX-License-Identifier: Apache-2.0
"""A Prometheus server that reads agents' metrics, and what it made of them."""

import json
import subprocess
import urllib.parse

from .listening import listens
from .waiting import wait_until

PORT = 9090
_GET = """
import sys, urllib.request
request = urllib.request.Request(sys.argv[1], headers={"Accept": sys.argv[2]})
with urllib.request.urlopen(request, timeout=10) as answer:
    print(answer.headers["Content-Type"])
    print(answer.read().decode(), end="")
"""


def get(network, url, accept="*/*"):
    """Returns the content type and the content of what the URL names in that network."""
    content_type, content = network.run("/usr/bin/python3", "-c", _GET, url, accept).split("\n", 1)
    return content_type, content


def check_metrics(text):
    """What `promtool check metrics` has to say against a text in the older format; empty when all is well."""
    result = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=30,
                            check=False)
    return result.stdout + result.stderr if result.returncode else ""


class Prometheus:
    """Reads each target of `targets` (a dict from job to HOST:PORT) four times a second."""

    def __init__(self, folder, network, targets):
        self._network = network
        self._output_path = folder / "prometheus.output"
        jobs = [{"job_name": job, "static_configs": [{"targets": [address]}]} for job, address in targets.items()]
        # JSON is YAML, too.
        config = folder / "prometheus.yml"
        config.write_text(json.dumps({"global": {"scrape_interval": "250ms", "scrape_timeout": "250ms"},
                                      "scrape_configs": jobs}))
        command = ["/sbin/ip", "netns", "exec", network.name, "prometheus", f"--config.file={config}",
                   f"--storage.tsdb.path={folder / 'prometheus'}", f"--web.listen-address=127.0.0.1:{PORT}"]
        with open(self._output_path, "ab") as file:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        # It looks for what it shall read some seconds after its start. Who is not there yet has been tried.
        wait_until(lambda: listens(self._process.pid, PORT) and self._tried() == len(targets),
                   f"Prometheus reading; it says: {self.output()}", 30, poll_s=0.1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()

    def output(self):
        return self._output_path.read_text(errors="replace")

    def _tried(self):
        try:
            targets = self._api("targets", state="active")["activeTargets"]
        except subprocess.CalledProcessError:
            return 0
        return sum(target["health"] != "unknown" for target in targets)

    def _api(self, path, **parameters):
        query = urllib.parse.urlencode(parameters)
        _, content = get(self._network, f"http://127.0.0.1:{PORT}/api/v1/{path}?{query}")
        answer = json.loads(content)
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, expression):
        """Returns (labels, value) of each series."""
        data = self._api("query", query=expression)
        return [(series["metric"], float(series["value"][1])) for series in data["result"]]

    def value(self, expression):
        """The one value; None while there is none."""
        found = self.query(expression)
        assert len(found) <= 1, (expression, found)
        return found[0][1] if found else None

    def metadata(self, metric):
        return self._api("metadata", metric=metric)[metric][0]
