#!/usr/bin/env python3
"""Runs the published Agones clients, unmodified, against the real agent and a simulated environment.

Usage: run.py --agent PATH NAME COMMAND [ARGS...] [, NAME COMMAND ...]

Each COMMAND is a game: it finds the SDK's ports in AGONES_SDK_GRPC_PORT and AGONES_SDK_HTTP_PORT, goes through the life of a
game server, and exits with 0 after its Shutdown. It may ask for something by a line on its standard output that begins with
"do ", and gets "done" on its standard input:

    do joinable   wait until the backend shows the instance as joinable
    do restart    kill -9 the agent, and start it again on the same ports

Everything else that it prints is shown. The agent must end with 0 by itself after the game has.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

PATIENCE = 60.0
LOOK = 0.02


def until(what, look):
    """Waits until something is there."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(LOOK)
    raise SystemExit(f"never seen: {what}")


class Process:
    """A program, and the file that it writes to."""

    def __init__(self, command, log, env):
        self.log = log
        with open(log, "ab") as out:
            self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env)

    def said(self, pattern, after=0):
        """What the pattern found in what it said, once it is there."""

        def look():
            if self.child.poll() is not None:
                raise SystemExit(f"{self.log.name} has ended with {self.child.returncode}:\n{self.log.read_text()}")
            return re.search(pattern, self.log.read_text()[after:])

        return until(f"{pattern} in {self.log.name}", look)

    def end(self):
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()


class Stage:
    """A simulated environment, and an agent for its session `demo`."""

    def __init__(self, binary, home):
        self.binary, self.home = binary, home
        self.env = {"PATH": os.environ["PATH"], "HOME": str(home), "XDG_RUNTIME_DIR": str(home), "XDG_STATE_HOME": str(home)}
        self.env["RALLYHERE_AGENT_AUTH__CLIENT_SECRET"] = "any"
        self.ports = (0, 0)
        command = [binary, "simulate", "--listen", "127.0.0.1:0", "--cadence", "1"]
        self.simulator = Process(command, home / "simulator.log", self.env)
        self.url = self.simulator.said(r"on (http://[0-9.:]+)")[1]
        self.agent = None
        self.start()

    def start(self):
        http, grpc = self.ports
        settings = {
            "environment.url": self.url,
            "auth.client_id": "agent",
            "instance.session_id": "demo",
            "instance.public_conn_str": "unreal://203.0.113.7:7777",
            "instance.publish_labels": '["mode"]',
            "health.startup_grace": "0s",
            "health.heartbeat_timeout": "2s",
            "local_api.listen": f"127.0.0.1:{http}",
            "local_api.grpc_listen": f"127.0.0.1:{grpc}",
            "admin.listen": "",
        }
        command = [self.binary, "run"]
        for key, value in settings.items():
            command += ["--set", f"{key}={value}"]
        log = self.home / "agent.log"
        after = len(log.read_text()) if log.exists() else 0
        self.agent = Process(command, log, self.env)
        found = self.agent.said(r"listen=127\.0\.0\.1:(\d+) grpc=127\.0\.0\.1:(\d+)", after)
        self.ports = (int(found[1]), int(found[2]))

    def instance(self):
        with urllib.request.urlopen(f"{self.url}/_sim/sessions/demo", timeout=5) as answer:
            return json.load(answer).get("instance") or {}

    def do(self, what):
        if what == "joinable":
            until("a joinable instance", lambda: self.instance().get("join_status") == "joinable")
        elif what == "restart":
            self.agent.end()
            self.start()
        else:
            raise SystemExit(f"nobody knows how to do {what!r}")

    def end(self):
        self.agent.end()
        self.simulator.end()


def play(binary, name, command):
    """One game, from its start to the agent's end."""
    begun = time.monotonic()
    home = Path(tempfile.mkdtemp(prefix=f"agones-{name}-"))
    home.chmod(0o700)
    stage = Stage(binary, home)
    http, grpc = stage.ports
    env = dict(os.environ, AGONES_SDK_HTTP_PORT=str(http), AGONES_SDK_GRPC_PORT=str(grpc))
    game = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env=env)
    good = False
    try:
        for line in game.stdout:
            if line.startswith("do "):
                stage.do(line[3:].strip())
                game.stdin.write("done\n")
                game.stdin.flush()
            else:
                print(f"   {name}: {line.rstrip()}", flush=True)
        code = game.wait(PATIENCE)
        if code != 0:
            raise SystemExit(f"{name}: the game has ended with {code}")
        code = stage.agent.child.wait(PATIENCE)
        if code != 0:
            raise SystemExit(f"{name}: the agent has ended with {code}")
        if stage.instance():
            raise SystemExit(f"{name}: the instance is still there: {stage.instance()}")
        good = True
    finally:
        game.kill()
        stage.end()
        if not good:
            print(stage.agent.log.read_text()[-8000:], file=sys.stderr)
        shutil.rmtree(home)
    print(f"   {name}: all well in {time.monotonic() - begun:.1f} s", flush=True)


def main(arguments):
    if len(arguments) < 4 or arguments[0] != "--agent":
        raise SystemExit(__doc__)
    binary = str(Path(arguments[1]).resolve())
    games, one = [], []
    for word in arguments[2:]:
        if word == ",":
            games.append(one)
            one = []
        else:
            one.append(word)
    games.append(one)
    for name, *command in games:
        play(binary, name, command)
    print(f"{len(games)} passed, 0 failed")


main(sys.argv[1:])
