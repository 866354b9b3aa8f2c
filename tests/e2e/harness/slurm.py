# SPDX-License-Identifier: Apache-2.0
"""A Slurm cluster of its own: munged, slurmctld and a slurmd in the namespace of each host, all of them the real ones.

Nothing of it is outside the test's folder, and it knows nothing of a Slurm that the machine may have.
"""

import os
import socket
import subprocess

from .listening import listens
from .waiting import wait_until

_CONFIGURATION = """
ClusterName=godwit
SlurmctldHost={machine}({controller})
SlurmctldPort=6817
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
# PMIx keeps a folder for each job here, and hosts do not share theirs.
TmpFS={folder}/tmp-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/linear
SwitchType=switch/none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
PartitionName=all Nodes=ALL Default=YES
"""


class SlurmCluster:
    """Returns from its creation once all nodes (n1, n2, …) are idle. Leaving the with block ends all of it."""

    def __init__(self, folder, star):
        self._folder = folder / "slurm"
        self._star = star
        self._processes = {}
        self._environment = {**os.environ, "SLURM_CONF": str(self._folder / "slurm.conf")}
        self._folder.mkdir(mode=0o700)
        self.nodes = [f"n{number + 1}" for number in range(len(star.hosts))]
        try:
            self._start()
        except BaseException:
            self._stop()
            raise

    def _start(self):
        (self._folder / "state").mkdir()
        self._write_configuration()
        key = self._folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        self._run_daemon(None, "munged", "/usr/sbin/munged", "--foreground", "--force",
                         *(f"--{option}={self._folder}/munge.{suffix}" for option, suffix in files.items()))
        wait_until((self._folder / "munge.socket").exists, f"munged waiting; it says: {self._output('munged')}")
        controller = self._run_daemon(self._star.hub, "slurmctld", "/usr/sbin/slurmctld", "-D")
        wait_until(lambda: listens(controller.pid, 6817), f"slurmctld waiting; it says: {self._output('slurmctld')}")
        for node, host in zip(self.nodes, self._star.hosts):
            for kind in ("spool", "tmp"):
                (self._folder / f"{kind}-{node}").mkdir()
            self._run_daemon(host, f"slurmd-{node}", "/usr/sbin/slurmd", "-D", "-N", node)
        wait_until(self._all_idle, "every node of Slurm idle", timeout_s=40, poll_s=0.2)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # The process of each task's step reports to slurmd when it ends, and tries for long where there is none.
        try:
            wait_until(self._all_idle, "every node of Slurm idle again", timeout_s=40, poll_s=0.1)
        finally:
            self._stop()

    def _stop(self):
        for process in reversed(self._processes.values()):
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def srun(self, *arguments, timeout_s=60):
        """A task on each node."""
        command = [*_in(self._star.hub), "srun", f"--nodes={len(self.nodes)}", "--ntasks-per-node=1", *arguments]
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s,
                              env=self._environment, check=False)

    def _write_configuration(self):
        machine = socket.gethostname().split(".")[0]
        text = _CONFIGURATION.format(machine=machine, controller=self._star.HUB_ADDRESS, folder=self._folder)
        for number, node in enumerate(self.nodes):
            text += f"NodeName={node} NodeHostname={machine} NodeAddr={self._star.address(number)} Port=6818 CPUs=1\n"
        (self._folder / "slurm.conf").write_text(text)

    def _run_daemon(self, namespace, name, *command):
        with open(self._folder / f"{name}.output", "wb") as file:
            process = subprocess.Popen([*_in(namespace), *command], stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                                       env=self._environment)
        self._processes[name] = process
        return process

    def _output(self, name):
        return (self._folder / f"{name}.output").read_text(errors="replace")

    def _all_idle(self):
        for name, process in self._processes.items():
            assert process.poll() is None, f"{name} has ended; it says: {self._output(name)}"
        result = subprocess.run([*_in(self._star.hub), "sinfo", "-h", "-N", "-o", "%t"], capture_output=True, text=True,
                                env=self._environment, check=False)
        return result.stdout.split() == ["idle"] * len(self.nodes)


def _in(namespace):
    # `ip netns exec` would hide the cgroups, which slurmd wants to see.
    return ("/usr/bin/nsenter", f"--net=/run/netns/{namespace.name}") if namespace else ()
