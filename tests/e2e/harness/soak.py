# SPDX-License-Identifier: Apache-2.0
"""A soak of post-copy: real guests move while agents, a QEMU, lanes and the link fail at random moments.

A migration in post-copy is slowed down so that many things can be done to it; then everything about the guest must be
right. What is done when follows from the seed, what it meets does not: processes and kernels have their own time.
"""

import argparse
import contextlib
import dataclasses
import os
import pathlib
import random
import signal
import sys
import tempfile
import time

from . import agent
from .boot_sector import MIB, BootSector
from .network import HostNetwork, Pair
from .qemu import Memory
from .scenario import COMPLETED, scenario, wait_in_post_copy
from .waiting import wait_until

# Longer than anybody's back-off and than a lost connection takes to be noticed.
END_S = 90
# What one migration bears before it is left alone to end.
INJECTIONS_MAX = 25


class SoakFailure(AssertionError):
    """Says how to do it again, and what was done."""


@dataclasses.dataclass
class Plan:
    """One migration, as the seed makes it."""

    version: str
    kind: str
    fill_mib: int
    dirty_mib: int
    seconds: int
    lanes: int
    random: random.Random

    @staticmethod
    def make(seed, number):
        dice = random.Random(f"{seed}/{number}")
        fill_mib = dice.randrange(64, 193, 16)
        # QEMU 10.0 sends memory in a memfd itself, which is refused.
        version, kind = [("7.2", "file"), ("10.0", "file"), ("7.2", "memfd")][(seed + number) % 3]
        return Plan(version=version, kind=kind, fill_mib=fill_mib,
                    dirty_mib=dice.choice([0, 8, fill_mib // 4, fill_mib // 2]), seconds=dice.randrange(8, 15),
                    lanes=dice.choice([1, 2, 4]), random=dice)

    @property
    def rate(self):
        return f"{(self.fill_mib - self.dirty_mib) * 8 // self.seconds + 1}Mbit"

    def __str__(self):
        return (f"QEMU {self.version}, {self.kind}, {self.fill_mib} MiB of which {self.dirty_mib} are written, "
                f"{self.lanes} lanes, {self.rate}")


class Attacked:
    """A migration in post-copy, and what is done to it."""

    def __init__(self, plan, guests, network, session, sender, receiver, transport):
        self._plan = plan
        self._random = plan.random
        self._guests = guests
        self._network = network
        self._session = session
        self._agents = {"source": sender, "destination": receiver}
        self._ended = set()  # roles whose agent has done its work
        self._began = time.monotonic()
        self._own = contextlib.ExitStack()
        self.sequence = []
        self.count = 0
        self.source_gone = False
        self._attacks = {
            self.kill_source: 3, self.kill_destination: 3, self.kill_both: 2, self.kill_while_resuming: 2,
            self.stop: 2, self.kill_source_qemu: 1, self.cut_control: 1}
        if transport == "tcp":
            self._attacks |= {self.cut_lane: 4, self.cut_link: 1}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._own.close()

    def run(self, count_max):
        """Does one thing after the other until the migration has ended or has had enough."""
        while self.count < count_max and len(self._ended) < 2:
            time.sleep(min(self._random.expovariate(1 / 0.2), 1.0))
            self._look()
            if self._ended:
                return
            attack = self._random.choices(list(self._attacks), list(self._attacks.values()))[0]
            attack()

    def finish(self):
        """Waits until both agents have ended as they should."""
        for role in ("destination", "source"):
            if role not in self._ended:
                code = self._agents[role].wait(END_S)
                self._note(f"{role} agent ends with {code}")
                assert code == COMPLETED, f"the {role} agent ended with {code}"
        self._guests.assert_moved(source_gone=self.source_gone)
        for role, process in self._agents.items():
            assert not process.sessions_left(), f"the {role}'s session is left"

    def outputs(self):
        return "\n".join(f"--- {role}\n{process.output()}" for role, process in self._agents.items())

    # What can be done.

    def kill_source(self):
        self._replace(["source"])

    def kill_destination(self):
        self._replace(["destination"])

    def kill_both(self):
        self._replace(["source", "destination"])

    def kill_while_resuming(self):
        roles = self._random.choice([["source"], ["destination"], ["source", "destination"]])
        self._replace(roles, again=True)

    def stop(self):
        roles = self._random.choice([["source"], ["destination"], ["source", "destination"]])
        duration_s = self._random.uniform(0.05, 1.2)
        self._count(f"stop {' and '.join(roles)} for {duration_s:.2f} s")
        self._signal(roles, signal.SIGSTOP)
        time.sleep(duration_s)
        self._signal(roles, signal.SIGCONT)

    def kill_source_qemu(self):
        if self.source_gone or not self._would_keep_memory():
            return
        self._count("kill source QEMU")
        self._guests.source.kill()
        self.source_gone = True

    def _would_keep_memory(self):
        """Whether the source's memory outlives its QEMU: an agent that was just started in the place of a dead one may
        not have a memfd yet."""
        if self._plan.kind != "memfd":
            return True
        try:
            with open(f"/proc/{self._agents['source'].pid}/maps", encoding="ascii") as maps:
                return "/memfd:" in maps.read()
        except (FileNotFoundError, ProcessLookupError):
            return False

    def cut_control(self):
        self._cut(lambda port: port == agent.PORT, "the control connection")

    def cut_lane(self):
        self._cut(lambda port: port != agent.PORT, "a lane")

    def cut_link(self):
        duration_s = self._random.choice([self._random.uniform(0.1, 0.6), self._random.uniform(0.6, 3.0)])
        self._count(f"cut link for {duration_s:.2f} s")
        self._network.cut()
        time.sleep(duration_s)
        self._network.mend()

    def _cut(self, wanted, what):
        connections = self._network.source.connections() if self._has_link() else self._network.connections()
        ports = [local for local, remote in connections if wanted(remote)]
        if ports:
            port = self._random.choice(ports)
            self._count(f"cut {what} (port {port} of {len(ports)})")
            (self._network.source if self._has_link() else self._network).reset_connection(port)

    def _has_link(self):
        return isinstance(self._network, Pair)

    def _replace(self, roles, again=False):
        """Kills these agents and starts others in their places, of which the first may be killed as well."""
        if "source" in roles and self.source_gone and self._plan.kind == "memfd":
            return  # the agent that would be killed has the only mapping of the memory
        for _ in range(2 if again else 1):
            alive = [role for role in roles if role not in self._ended]
            for role in alive:
                self._count(f"kill {role} agent")
                with contextlib.suppress(ProcessLookupError):
                    self._agents[role].signal(signal.SIGKILL)
            dead = [role for role in alive if self._agents[role].wait() == -signal.SIGKILL]
            self._random.shuffle(dead)
            for role in dead:
                if not self._agents[role].sessions_left():  # it had done all, but for saying so
                    self._note(f"{role} agent had ended")
                    self._ended.add(role)
                    continue
                time.sleep(self._random.choice([0, 0, self._random.uniform(0, 0.4)]))
                self._note(f"resume {role} agent")
                self._agents[role] = self._own.enter_context(agent.resume(self._agents[role], self._session))
            time.sleep(self._random.uniform(0, 0.2) if again else 0)
            self._look()
        if self._random.random() < 0.5:
            self._await_recovery()

    def _await_recovery(self):
        def recovered():
            self._look()
            states = {entry["role"]: entry["state"] for entry in self._agents["source"].status()
                      if entry["agent"] == "running"}
            return self._ended or states == {"source": "post-copy", "destination": "post-copy"}
        wait_until(recovered, "post-copy going on", 30, poll_s=0.05)
        self._note("goes on")

    def _look(self):
        """Notices agents that have ended; nobody ends but for having done all."""
        for role, process in self._agents.items():
            if role not in self._ended and not process.alive():
                code = process.wait()
                self._note(f"{role} agent has ended with {code}")
                assert code == COMPLETED, f"the {role} agent ended with {code}"
                self._ended.add(role)

    def _signal(self, roles, number):
        for role in roles:
            if role not in self._ended and self._agents[role].alive():
                self._agents[role].signal(number)

    def _count(self, what):
        self.count += 1
        self._note(what)

    def _note(self, what):
        self.sequence.append(f"{time.monotonic() - self._began:7.3f} {what}")


def run_migration(seed, number, count_max, transport, tell=lambda text: None):
    """Moves one guest through what the seed has for it; returns how much was done to it. Raises SoakFailure."""
    plan = Plan.make(seed, number)
    attacked = None
    with tempfile.TemporaryDirectory(prefix="godwit-soak-", dir="/var/tmp") as folder, \
         (Pair() if transport == "tcp" else contextlib.nullcontext(HostNetwork())) as network:
        pair = network if transport == "tcp" else None
        guest = BootSector(fill_end=plan.fill_mib * MIB, dirty_mib=plan.dirty_mib, passes_per_letter=2)
        memory = Memory(plan.fill_mib + 16, plan.kind)
        insecure = ("--insecure",) if pair else ()
        try:
            with scenario(pathlib.Path(folder), network, guest, memory, plan.version, pair=pair) as guests, \
                 guests.receive("--transport", transport, *insecure) as receiver, \
                 guests.send("--transport", transport, *insecure, "--post-copy", "now", "--lanes", str(plan.lanes),
                             "--bandwidth-limit", plan.rate) as sender:
                session = wait_in_post_copy(sender)
                with Attacked(plan, guests, network, session, sender, receiver, transport) as attacked:
                    try:
                        attacked.run(min(count_max, INJECTIONS_MAX))
                        attacked.finish()
                    except Exception:
                        tell(attacked.outputs())
                        raise
                tell(f"migration {number}: {attacked.count} injections, {len(attacked.sequence)} steps ({plan})")
                return attacked.count
        except Exception as error:
            sequence = "\n  ".join(attacked.sequence) if attacked else "(not in post-copy yet)"
            outputs = attacked.outputs() if attacked else ""
            raise SoakFailure(f"{type(error).__name__}: {error}\n{outputs}\n"
                              f"seed {seed}, migration {number}: {plan}\n  {sequence}\n"
                              f"again: scripts/soak --seed {seed} --migration {number} --transport {transport}"
                              ) from error


def run(injections, seed, transport="tcp", tell=print):
    """Goes on until so many things have been done to guests, and all of them have borne it."""
    tell(f"seed {seed}")
    done, number = 0, 0
    started = time.monotonic()
    while done < injections:
        done += run_migration(seed, number, injections - done, transport, tell)
        number += 1
    tell(f"{done} injections in {number} migrations, {time.monotonic() - started:.0f} s: none lost, none wrong")
    return done


def new_seed():
    return int.from_bytes(os.urandom(4), "little")


def main():
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__.splitlines()[0])
    parser.add_argument("--injections", type=int, default=200, help="how much is done to guests in all")
    parser.add_argument("--seed", type=int, default=None, help="what to do when; printed by each run")
    parser.add_argument("--migration", type=int, default=None, help="only this one of the seed")
    parser.add_argument("--transport", choices=["tcp", "rdma"], default="tcp")
    options = parser.parse_args()
    seed = new_seed() if options.seed is None else options.seed

    def tell(text):
        print(text, flush=True)
    try:
        if options.migration is None:
            run(options.injections, seed, options.transport, tell)
        else:
            run_migration(seed, options.migration, INJECTIONS_MAX, options.transport, tell)
    except SoakFailure as failure:
        sys.exit(str(failure))


if __name__ == "__main__":
    main()
