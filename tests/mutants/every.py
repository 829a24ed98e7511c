#!/usr/bin/env python3
"""Tries every mutant that cargo-mutants knows of in core and wire: tests/mutants/every.py [--only REGEX] [--jobs N]

A build for each would take a day. So all are put into one: the body of a function becomes a choice between itself and each of its
mutants, and MUTANT=n in the environment of the tests makes it. Core and wire are pure, so they make a small crate of their own, below
target/mutants/every. What does not compile is left out; so are constants and functions of an unnamed type (cargo-mutants itself can
try those there: `cargo mutants --no-config -d target/mutants/every/plain`).

First all tests but the long ones are run, up to the first that fails; who survives that has to stand the long ones too. Survivors that
survivors.txt does not know are shown, and end it with 1. It takes some 20 minutes on two cores, and needs cargo-mutants 27.
"""

import argparse
import collections
import json
import os
import pathlib
import re
import resource
import shutil
import subprocess
import sys
import threading

ROOT = pathlib.Path(__file__).resolve().parents[2]
PLACE = ROOT / "target/mutants/every"
PLAIN, ALL = PLACE / "plain", PLACE / "all"
KNOWN = pathlib.Path(__file__).with_name("survivors.txt")
# What core and wire need, and their tests with them.
CRATES = "backoff base64 fastrand httpdate jiff percent-encoding secrecy serde serde_json thiserror tokio uuid".split()
# Explorations of minutes: never.
NEVER = ["core::tests::check", "core::tests::model"]
# Tests of seconds: only for those that survive the others.
LONG = [
    "core::tests::properties", "a_bad_world_loses", "no_bad_notification_blocks", "no_datagram_at_all", "no_change_of_one_byte",
    "a_configuration_that_never_comes", "one_refusal_costs_one_beat", "every_kind_at_every_place",
]
# Far more than the tests take; a mutant that loops, or eats memory, is caught.
SECONDS, SECONDS_LONG, MEMORY = 20, 90, 3 << 30

MANIFEST = """[package]
name = "pure"
version = "0.0.0"
edition = "2024"

[dependencies]
{dependencies}

[dev-dependencies]
{proptest}

[profile.dev]
opt-level = 1
debug = false

[workspace]
"""
LIB = """#![allow(warnings)]
pub mod clock;
pub mod core;
pub mod wire;
pub(crate) fn mutant() -> u32 {
    static MUTANT: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    *MUTANT.get_or_init(|| std::env::var("MUTANT").ok().and_then(|n| n.parse().ok()).unwrap_or(0))
}
"""


def lay_out(place):
    """The small crate."""
    wanted = re.findall(r"^[\w-]+ = .*$", (ROOT / "Cargo.toml").read_text(), re.M)
    line = lambda name: next(line for line in wanted if line.startswith(name + " = "))
    (place / "src").mkdir(parents=True, exist_ok=True)
    (place / "Cargo.toml").write_text(MANIFEST.format(dependencies="\n".join(map(line, CRATES)), proptest=line("proptest")))
    shutil.copy(ROOT / "Cargo.lock", place)
    for room in ("core", "wire"):
        shutil.rmtree(place / "src" / room, ignore_errors=True)
        shutil.copytree(ROOT / "src" / room, place / "src" / room)
    for file in ("core.rs", "wire.rs", "clock.rs"):
        shutil.copy(ROOT / "src" / file, place / "src")
    (place / "src/lib.rs").write_text(LIB)


def mutants(only):
    listed = subprocess.run(
        ["cargo", "mutants", "--no-config", "--list", "--json", "-d", PLAIN, "--file", "src/core/**", "--file", "src/wire/**"],
        check=True, capture_output=True, text=True).stdout
    found = [mutant for mutant in json.loads(listed) if re.search(only, mutant["name"])]
    for number, mutant in enumerate(found, 1):
        mutant["id"] = number
    return found


class File:
    """A file with its mutants."""

    def __init__(self, path, its):
        self.path, self.its, self.text = path, its, (PLAIN / path).read_text()
        self.lines = [0]
        for line in self.text.split("\n"):
            self.lines.append(self.lines[-1] + len(line) + 1)

    def span(self, span):
        at = lambda place: self.lines[place["line"] - 1] + place["column"] - 1
        return at(span["start"]), at(span["end"])

    def write(self, out, ranges):
        """With all mutants that are not out; those that cannot be in are put out. Says in which lines each is."""
        functions = set()
        for mutant in self.its:
            if mutant.get("function"):
                functions.add(self.span(mutant["function"]["span"]))
            else:
                out[mutant["id"]] = "it is a constant"
        outer = [one for one in functions if not any(other != one and other[0] <= one[0] and one[1] <= other[1] for other in functions)]
        text = self.text
        for start, end in sorted(outer, reverse=True):
            name = re.search(r"\bfn\s+\w+", self.text[start:end])
            begin, finish = self.text.index("{", start + name.end()) + 1, end - 1
            inside = [one for one in self.its if start <= self.span(one["span"])[0] and self.span(one["span"])[1] <= end]
            if re.search(r"\bconst\s*$", self.text[start:start + name.start()]) or re.search(r"->[^{]*\bimpl\b", self.text[start:begin]):
                out.update((one["id"], "it is a constant, or its type has no name") for one in inside)
            arms = []
            for one in inside:
                if one["id"] not in out:
                    (a, b), number = self.span(one["span"]), one["id"]
                    body = f"{self.text[begin:a]} {one['replacement']} {self.text[b:finish]}"
                    arms.append(f"/*from {number}*/ {number} => {{\n{body}\n}} /*to {number}*/")
            if arms:
                arms.append(f"_ => {{{self.text[begin:finish]}}}")
                text = text[:begin] + "match crate::mutant() {\n" + "\n".join(arms) + "\n}" + text[finish:]
        place = ALL / self.path
        if place.read_text() != text:
            place.write_text(text)
        for number, line in enumerate(text.split("\n"), 1):
            for which, mutant in re.findall(r"/\*(from|to) (\d+)\*/", line):
                ranges.setdefault((self.path, int(mutant)), [0, 0])[which == "to"] = number


def put_in(found):
    """All of them that compile. Gives those that do not, with the reason."""
    by_file = collections.defaultdict(list)
    for mutant in found:
        by_file[mutant["file"]].append(mutant)
    files, out = [File(path, its) for path, its in by_file.items()], {}
    while True:
        ranges = {}
        for file in files:
            file.write(out, ranges)
        checked = subprocess.run(["cargo", "check", "--lib", "--message-format=json"], cwd=ALL, capture_output=True, text=True)
        fresh = {}
        for message in map(json.loads, checked.stdout.splitlines()):
            if message.get("reason") != "compiler-message" or message["message"]["level"] != "error":
                continue
            for primary in (True, False):
                places = [span for span in message["message"]["spans"] if span["is_primary"] == primary]
                hit = {mutant for (path, mutant), (first, last) in ranges.items() for place in places
                       if place["file_name"] == path and first <= place["line_start"] <= last}
                fresh.update((mutant, message["message"]["message"]) for mutant in hit)
                if hit:
                    break
        if not fresh:
            if checked.returncode:
                sys.exit(f"the crate of core and wire does not compile:\n{checked.stderr[-4000:]}")
            return out
        out |= fresh


def build():
    built = subprocess.run(["cargo", "test", "--lib", "--no-run", "--message-format=json"], cwd=ALL, check=True, stdout=subprocess.PIPE, text=True)
    return next(one["executable"] for one in map(json.loads, built.stdout.splitlines()) if one.get("executable"))


def try_one(program, mutant, skipped, seconds):
    """The test that fails, "time" or "memory"; None for a survivor."""
    def bounded():
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    skips = [word for test in skipped for word in ("--skip", test)]
    tests = subprocess.Popen(
        [program, "--test-threads=1", *skips], env=os.environ | {"MUTANT": str(mutant), "RUST_BACKTRACE": "0"}, cwd=ALL,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, preexec_fn=bounded)
    killer = threading.Timer(seconds, tests.kill)
    killer.start()
    failed = None
    for line in tests.stdout:
        if line.startswith("test ") and line.rstrip().endswith("... FAILED"):
            failed = line.split()[1]
            tests.kill()
            break
    tests.stdout.close()
    status = tests.wait()
    killer.cancel()
    return failed or ("time or memory" if status else None)


def try_all(program, waiting, skipped, seconds, jobs):
    """Those that survive."""
    waiting, survivors, done, lock = list(waiting), [], [], threading.Lock()
    def work():
        while True:
            with lock:
                if not waiting:
                    return
                mutant = waiting.pop()
            caught = try_one(program, mutant["id"], skipped, seconds)
            with lock:
                done.append(mutant)
                if not caught:
                    survivors.append(mutant)
                if len(done) % 250 == 0:
                    print(f"   {len(done)} tried, {len(survivors)} alive", flush=True)
    workers = [threading.Thread(target=work) for _ in range(jobs)]
    [worker.start() for worker in workers]
    [worker.join() for worker in workers]
    return survivors


def nameless(mutant):
    """Its name without line and column, which move."""
    return re.sub(r":\d+:\d+: ", ": ", mutant["name"], count=1)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--only", default="", metavar="REGEX", help="those whose name has this")
    arguments.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="N")
    chosen = arguments.parse_args()
    known = {line.split(" | ")[0] for line in KNOWN.read_text().splitlines() if line and not line.startswith("#")}
    lay_out(PLAIN)
    lay_out(ALL)
    found = mutants(chosen.only)
    out = put_in(found)
    tried = [mutant for mutant in found if mutant["id"] not in out]
    print(f"-- {len(found)} mutants, {len(out)} of them cannot be put in; the others are built", flush=True)
    program = build()
    if failed := try_one(program, 0, NEVER, 10 * SECONDS_LONG):
        sys.exit(f"without any mutant this fails: {failed}")
    survivors = try_all(program, tried, NEVER + LONG, SECONDS, chosen.jobs)
    print(f"-- {len(survivors)} are left for the long tests", flush=True)
    survivors = try_all(program, survivors, NEVER, SECONDS_LONG, chosen.jobs)
    new = sorted(mutant["name"] for mutant in survivors if nameless(mutant) not in known)
    print(f"-- {len(tried)} tried, {len(tried) - len(survivors)} caught, {len(survivors)} survived, {len(new)} of them unknown to {KNOWN.name}")
    print("\n".join(new))
    if not chosen.only:
        gone = known - {nameless(mutant) for mutant in survivors}
        print("".join(f"caught by now, or gone: {name}\n" for name in sorted(gone)), end="")
    sys.exit(1 if new else 0)


if __name__ == "__main__":
    main()
