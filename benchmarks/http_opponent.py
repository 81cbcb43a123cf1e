"""Nested episodes against an HTTP opponent that takes its time: wall time beside what the network alone allows.

    python benchmarks/http_opponent.py [--groups 64] [--members 16] [--latency 0.05] [--concurrency 32]

Every episode is a sum, a matrix game, TicTacToe and Who's the Spy; one endpoint, in a process of its own, sits in every
seat that is not trained. The trainee is a player that answers at once, so that what is measured is the network and the
whole table: rules, prompts, requests, parsing, records.

The critical path is the least time that the endpoint needs, whoever asks: all calls through `concurrency` places, or
the longest episode's calls one after the other. It is stated for the latency that was asked for, and for the time that
the endpoint really took from a request read to its answer, which is longer where other programs want the same cores:
that is not the table's doing. On Linux it is also told how long the table was ready to go on and had no core. Beside
it stands the sum of all latencies, which is the least time of a loop that waits for each answer before it asks for the
next one, as the reference code does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, Final
from urllib.request import urlopen

from gift_dsl import api, run
from gift_dsl.games.game import FreeText
from gift_dsl.plan import leaves
from gift_dsl.play.compose import plan_walks
from gift_dsl.play.keys import Keys
from gift_dsl.play.seats import Table
from gift_dsl.play.table import play_groups
from gift_dsl.players.make import Services, host_limits
from gift_dsl.players.network import Network
from gift_dsl.records import Group
from gift_dsl.seat import Turn

SPEC: Final = """
gift: 1
name: http-opponent
model: {source: ./nobody}
opponents:
  server: {type: openai, base_url: "%s", model: m}
games:
  sums: {type: arithmetic}
  matrix: {type: matrix_games}
  tictactoe: {type: tictactoe, opponents: server}
  spy: {type: whos_the_spy, opponents: server}
stages:
  - {name: nested, type: grpo, play: {all_of: [sums, matrix, tictactoe, spy]}, until: {steps: 1}}
"""
CHOICES: Final = re.compile(r"(?:Legal actions|Choose from): (.+)")
SAYING: Final = "It is number 42 of 77."


@dataclass(frozen=True, slots=True)
class Trainee:
    """Plays a random legal action; where any text is legal, always the same."""

    name: str = "trainee"
    waits: bool = False

    async def act(self, turn: Turn, rng: random.Random) -> str:
        """The answer to one turn."""
        action = SAYING if isinstance(turn.legal, FreeText) else rng.choice(turn.legal)
        return f"<{turn.tag}>{action}</{turn.tag}>"


@dataclass(frozen=True, slots=True)
class Load:
    """How much is played, and how fast the endpoint answers."""

    groups: int
    members: int
    latency_s: float
    concurrency: int


async def serve(latency_s: float) -> None:
    """Answer chat completions until the process is ended; the first line printed is the address."""
    num_calls, busy_s = 0, 0.0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal num_calls, busy_s
        rng = random.Random(1)
        while head := await read_head(reader):
            start = perf_counter()
            if head.startswith(b"GET"):
                write(writer, json.dumps({"calls": num_calls, "seconds": busy_s}).encode())
                continue
            length = next(int(line[15:]) for line in head.lower().splitlines() if line.startswith(b"content-length:"))
            said = json.loads(await reader.readexactly(length))["messages"][-1]["content"]
            await asyncio.sleep(latency_s)
            choices = CHOICES.search(said)
            action = SAYING if choices is None else rng.choice(choices[1].replace(",", " ").split())
            message = {"role": "assistant", "content": f"<answer>{action}</answer>"}
            body = json.dumps({"choices": [{"index": 0, "finish_reason": "stop", "message": message}]}).encode()
            num_calls, busy_s = num_calls + 1, busy_s + perf_counter() - start
            write(writer, body)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await server.serve_forever()


def write(writer: asyncio.StreamWriter, body: bytes) -> None:
    """A response."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


def seconds_taken(url: str) -> float:
    """From requests read to answers written, all calls of the endpoint together."""
    with urlopen(f"{url}/seconds") as response:  # this file's own server
        return json.load(response)["seconds"]


def seconds_without_core() -> float:
    """How long the main thread of this process was ready to run and had no core; NaN where the system does not say."""
    try:
        return int(Path("/proc/self/schedstat").read_text(encoding="ascii").split()[1]) / 1e9
    except OSError:
        return math.nan


async def read_head(reader: asyncio.StreamReader) -> bytes:
    """The head of the next request; empty when the client has closed the connection."""
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""


@dataclass(frozen=True, slots=True)
class Played:
    """What was played and what it took; `endpoint_s` is the sum over all calls."""

    groups: list[Group]
    calls: int
    wall_s: float
    cpu_s: float
    without_core_s: float
    endpoint_s: float


async def play(url: str, load: Load) -> Played:
    """Play the whole load."""
    (plan,) = api.compile_spec("-", SPEC % url)
    stage, keys = plan.stages[0], Keys(1, "train", "nested", 0)
    services = Services(Network(host_limits([(url, load.concurrency)])), base_urls={"server": url})
    games = tuple(leaf.game for leaf in leaves(stage.play))
    table = Table(
        games=run.table_games(plan, games, "train"),
        policy=Trainee(),
        players=run.bind(run.seated_names(plan, games), plan, services),
        system_prompt=stage.system_prompt,
    )
    taken, waited = seconds_taken(url), seconds_without_core()
    start, cpu = perf_counter(), process_time()
    async with services.network:
        walks = plan_walks(stage.play, keys, range(load.groups))
        groups = await play_groups(table, keys, walks, load.members)
        wall_s, cpu_s = perf_counter() - start, process_time() - cpu
    return Played(
        groups=groups,
        calls=services.budget.usage("server").calls,
        wall_s=wall_s,
        cpu_s=cpu_s,
        without_core_s=seconds_without_core() - waited,
        endpoint_s=seconds_taken(url) - taken,
    )


def report(load: Load, played: Played) -> None:
    """Print what was measured and what it is compared with."""
    calls, wall_s = played.calls, played.wall_s
    episodes = [one for group in played.groups for one in group.trajectories]
    longest = max(sum(turn.player == "server" for turn in one.turns) for one in episodes)
    places = max(calls / load.concurrency, longest)
    critical_s, real_s = load.latency_s * places, played.endpoint_s / calls * places
    rows: dict[str, Any] = {
        "episodes": len(episodes),
        "of these void": sum(one.is_void for one in episodes),
        "turns of the trainee": sum(turn.player == "policy" for one in episodes for turn in one.turns),
        "calls": calls,
        "most calls of one episode": longest,
        "critical path": f"{critical_s:.2f} s",
        "critical path as the endpoint answered": f"{real_s:.2f} s, {1000 * played.endpoint_s / calls:.1f} ms a call",
        "wall time": f"{wall_s:.2f} s, {wall_s / critical_s:.2f} and {wall_s / real_s:.2f} of these",
        "CPU time of the table and its client": f"{played.cpu_s:.2f} s",
        "ready, but without a core": f"{played.without_core_s:.2f} s",
        "sum of latencies": f"{calls * load.latency_s:.1f} s, {calls * load.latency_s / wall_s:.1f} of the wall time",
    }
    print("| | |\n|---|---|")
    for name, value in rows.items():
        print(f"| {name} | {value} |")


def main() -> None:
    """Start the endpoint, play once for the caches and once for the clock, print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, default=64)
    parser.add_argument("--members", type=int, default=16)
    parser.add_argument("--latency", type=float, default=0.05)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--serve", action="store_true", help="only answer")
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.latency))
        return
    load = Load(options.groups, options.members, options.latency, options.concurrency)
    command = [sys.executable, __file__, "--serve", "--latency", str(load.latency_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            url = server.stdout.readline().strip()
            asyncio.run(play(url, Load(2, 2, load.latency_s, load.concurrency)))
            report(load, asyncio.run(play(url, load)))
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
