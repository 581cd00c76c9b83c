#!/usr/bin/env python3
"""Compares the run times of whole processes on one capture file, in alternation.

    compare.py FILE [--pairs 5] [--cores 1] -- COMMAND {} … -- COMMAND {} …

Each command runs once per round, in the given order. {} is replaced by the file, which is read once
before each round so that it is in the page cache. For every command but the first, the script prints
the ratio of the first command's time to its time: median, minimum, and maximum, both for elapsed time
and for processor time, which other load on the machine affects less. It also prints the end of every
output; the script does not check the answers.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time


def run(command, cores):
    """Returns elapsed seconds, CPU seconds, and the end of the output of a command."""
    started = time.perf_counter()
    child = subprocess.Popen(
        ["taskset", "-c", cores, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output = child.stdout.read().decode(errors="replace")
    _, status, usage = os.wait4(child.pid, 0)
    elapsed = time.perf_counter() - started
    if status != 0:
        sys.exit(f"{' '.join(command)}: failed\n{output}")
    return elapsed, usage.ru_utime + usage.ru_stime, " ".join(output.split())[-120:]


def split(words):
    """Returns the commands that follow each `--`."""
    commands = []
    for word in words:
        if word == "--":
            commands.append([])
        elif commands:
            commands[-1].append(word)
    return commands


def main():
    at = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("file")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--cores", default="1")
    arguments = parser.parse_args(sys.argv[1:at])
    commands = split(sys.argv[at:])
    if len(commands) < 2:
        parser.error("at least two commands are required")
    commands = [[word.replace("{}", arguments.file) for word in command] for command in commands]
    rounds = []
    for _ in range(arguments.pairs):
        with open(arguments.file, "rb") as file:
            while file.read(1 << 20):
                pass
        rounds.append([run(command, arguments.cores) for command in commands])
    for index, command in enumerate(commands):
        line = [f"{min(round[index][kind] for round in rounds):.3f} s" for kind in (0, 1)]
        for kind in (0, 1) if index else ():
            shares = sorted(round[0][kind] / round[index][kind] for round in rounds)
            line.append(f"{statistics.median(shares):.3f} ({shares[0]:.3f} to {shares[-1]:.3f})")
        print(os.path.basename(command[0]), "minimum elapsed, processor:", *line[:2],
              *(["ratio elapsed, processor:", *line[2:]] if index else []))
        print("   ", rounds[-1][index][2])


if __name__ == "__main__":
    main()
