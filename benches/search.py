#!/usr/bin/env python3
"""How long do filtered pages, text searches and discoveries take over many agents, while commands go on?

    cargo build --release && python3 benches/search.py [--agents 1000000] [--rate 5000] [--seconds 60] [--askers 2]

Starts `agentverse dev` on a fresh folder below target and registers the agents: half in one tenant, the others in 49. Their
texts are of 20,000 invented words that are as unevenly common as those of a language (Zipf), with some thirty words each.
Then `agentverse load` revises agents of its own at the rate, and each asker asks one thing after the other, of every kind in
turn, over a connection that it keeps. Which words, filters and tenants follows from `--seed`. The first seconds are not
counted. Prints a line of JSON: milliseconds by kind, what the load came to, and how the replica stands. `--keep` keeps the
folder, `--folder` takes one that was kept: nothing is registered then.
"""

import argparse
import bisect
import http.client
import itertools
import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path
from urllib.parse import urlencode

ROOT = Path(__file__).resolve().parent.parent
ADDRESS = "127.0.0.1:7508"
TENANTS = [str(uuid.uuid5(uuid.NAMESPACE_URL, f"search/{number}")) for number in range(50)]
WORDS, SKILLS, OWNERS, DOMAINS = 20_000, 300, 2_000, 400
CATEGORIES = ["engineering", "finance", "healthcare", "legal", "marketing", "operations", "research", "sales", "security", "support"]
RISKS = ["low", "medium", "high"]
KINDS = ["filtered_page", "text_search", "discovery"]
WARM_UP_SECONDS = 5
BATCH = 500


class Texts:
    """Invented words, the first ones common, the last ones rare."""

    def __init__(self):
        draw = random.Random(1)
        syllables = [a + b for a in "bcdfghjklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "er", "il", "or")]
        words = {}
        while len(words) < WORDS:
            words["".join(draw.choice(syllables) for _ in range(draw.randint(2, 4)))] = None
        self.words = list(words)
        self.sums = list(itertools.accumulate(1 / (rank + 1) for rank in range(WORDS)))
        self.skills = [f"{self.words[50 + 7 * number]}_{self.words[51 + 11 * number]}" for number in range(SKILLS)]

    def word(self, draw):
        return self.words[bisect.bisect(self.sums, draw.random() * self.sums[-1])]

    def some(self, draw, least, most):
        return " ".join(self.word(draw) for _ in range(draw.randint(least, most)))

    def skill(self, draw):
        return self.skills[int(SKILLS * draw.random() ** 3)]


def tenant_of(draw):
    return TENANTS[0] if draw.random() < 0.5 else draw.choice(TENANTS[1:])


class Node:
    """A connection that is kept."""

    def __init__(self):
        self.connection = http.client.HTTPConnection(ADDRESS, timeout=60)

    def send(self, method, path, tenant=None, body=None, kind="application/cloudevents-batch+json"):
        headers = {"AgentVerse-Tenant": tenant} if tenant else {}
        if body is not None:
            headers["content-type"] = kind
        self.connection.request(method, path, body, headers)
        answer = self.connection.getresponse()
        return answer.status, json.loads(answer.read())

    def get(self, path, tenant=None):
        status, answer = self.send("GET", path, tenant)
        if status != 200:
            raise SystemExit(f"{path} was answered with {status}: {answer}")
        return answer


def agent(number, texts, draw):
    data = {
        "name": f"{texts.word(draw)} {texts.word(draw)} {number}".capitalize(), "category": draw.choice(CATEGORIES), "role": "worker",
        "purpose": texts.some(draw, 8, 25), "skills": sorted({texts.skill(draw) for _ in range(3)}),
        "domains": [f"domain-{draw.randrange(DOMAINS)}"], "risk_tier": draw.choice(RISKS), "owner": f"owner-{draw.randrange(OWNERS)}",
    }
    name = f"search/agent/{number}"
    return {"specversion": "1.0", "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{name}/made")), "source": "search", "data": data,
            "type": "agent.RegisterAgent", "subject": str(uuid.uuid5(uuid.NAMESPACE_URL, name))}


def register(agents, texts):
    node, draw = Node(), random.Random(2)
    for number, tenant in enumerate(TENANTS):
        event = {"specversion": "1.0", "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"search/tenant/{number}")), "source": "search",
                 "type": "tenant.ProvisionTenant", "subject": tenant,
                 "data": {"name": f"Tenant {number}", "region": "eu", "tier": "diamond"}}
        node.send("POST", "/v1/commands", tenant, json.dumps(event), "application/cloudevents+json")
    waiting = {tenant: [] for tenant in TENANTS}
    began = time.monotonic()
    for number in range(agents):
        tenant = tenant_of(draw)
        waiting[tenant].append(agent(number, texts, draw))
        if len(waiting[tenant]) == BATCH:
            # The first says whether these are taken at all.
            post(node, tenant, waiting, "accepted" if number > BATCH * len(TENANTS) else "applied")
    for tenant in TENANTS:
        post(node, tenant, waiting)
    return time.monotonic() - began


def post(node, tenant, waiting, wait="accepted"):
    if not waiting[tenant]:
        return
    body = json.dumps(waiting[tenant])
    while True:
        status, answer = node.send("POST", f"/v1/commands?wait={wait}", tenant, body)
        if status < 300:
            refused = [item for item in answer["items"] if item["outcome"] not in ("accepted", "applied")]
            if refused:
                raise SystemExit(f"refused: {refused[0]}")
            break
        if status not in (429, 503):
            raise SystemExit(f"{status}: {answer}")
        time.sleep(0.1)
    waiting[tenant].clear()


def standing():
    return Node().get("/v1/status/replica")


def settled(agents):
    """Waits until every agent can be searched for."""
    began = time.monotonic()
    while True:
        now = standing()
        if now["state"] == "following" and now["waiting_rows"] == 0 and now["rows"] >= agents:
            return time.monotonic() - began, now
        time.sleep(0.2)


def questions(texts, draw):
    """One of every kind, for ever."""
    while True:
        filters = [("category", draw.choice(CATEGORIES)), ("risk_tier", draw.choice(RISKS)), ("skill", texts.skill(draw)),
                   ("owner", f"owner-{draw.randrange(OWNERS)}"), ("domain", f"domain-{draw.randrange(DOMAINS)}")]
        chosen = draw.sample(filters, draw.randint(1, 2))
        yield "filtered_page", "/v1/agents?" + urlencode(chosen + [("limit", 50)]), draw.random() < 0.5
        words = [texts.word(draw) for _ in range(draw.randint(1, 3))]
        if draw.random() < 0.3:
            words[-1] = words[-1][:4]
        yield "text_search", "/v1/agents?" + urlencode([("q", " ".join(words)), ("limit", 20)]), False
        wanted = [("skill", texts.skill(draw)) for _ in range(draw.randint(0, 2))]
        yield "discovery", "/v1/discover/agents?" + urlencode(wanted + [("text", texts.some(draw, 2, 6))]), False


def ask(texts, seed, until, counted_from, found):
    node, draw = Node(), random.Random(seed)
    for kind, path, goes_on in questions(texts, draw):
        if kind not in found:
            continue
        tenant = tenant_of(draw)
        while path:
            began = time.monotonic()
            answer = node.get(path, tenant)
            ended = time.monotonic()
            if ended > until:
                return
            if began > counted_from:
                found[kind].append((ended - began, len(answer["items"]), path))
            page = answer.get("next_cursor") if goes_on else None
            path, goes_on = f"{path}&{urlencode({'cursor': page})}" if page else None, False


def told(times):
    ordered = sorted(times)
    at = lambda share: round(1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))][0], 2)
    slowest = [path for _, _, path in ordered[-3:]]
    return {"questions": len(ordered), "p50_ms": at(0.5), "p90_ms": at(0.9), "p99_ms": at(0.99), "most_ms": at(1),
            "with_hits": sum(items > 0 for _, items, _ in ordered), "slowest": slowest}


def measured(asked, texts, binary):
    command = [binary, "load", "--url", f"http://{ADDRESS}", "--rate", str(asked.rate), "--seconds", str(asked.seconds + WARM_UP_SECONDS),
               "--streams", "50000", "--tenants", "8", "--output", "json"]
    rows = standing()["rows"]
    load = subprocess.Popen(command, stdout=subprocess.PIPE, text=True) if asked.rate else None
    if load:
        # It registers its own first.
        while standing()["rows"] < rows + 50_000:
            time.sleep(0.2)
    began = time.monotonic()
    found = {kind: [] for kind in asked.kinds}
    until, counted_from = began + asked.seconds + WARM_UP_SECONDS - 1, began + WARM_UP_SECONDS
    askers = [threading.Thread(target=ask, args=(texts, asked.seed * 1000 + number, until, counted_from, found))
              for number in range(asked.askers)]
    for asker in askers:
        asker.start()
    standings = []
    while time.monotonic() < until - 1:
        time.sleep(1)
        standings.append(standing())
    for asker in askers:
        asker.join()
    report = json.loads(load.communicate()[0]) if load else None
    worst = max(standings, key=lambda it: it["lag_ms"])
    return {kind: told(times) for kind, times in found.items()}, report, worst


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--agents", type=int, default=1_000_000)
    parser.add_argument("--rate", type=int, default=5_000, help="commands per second meanwhile; 0: none")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--askers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--binary", type=Path, default=ROOT / "target/release/agentverse")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the node")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--keep", action="store_true")
    asked = parser.parse_args()
    folder = asked.folder or Path(tempfile.mkdtemp(prefix="search.", dir=ROOT / "target"))
    texts = Texts()
    log = (folder / "log").open("w")
    dev = [asked.binary, "dev", "--data", folder / "data", "--http", ADDRESS, *(f"--set={one}" for one in asked.set)]
    node = subprocess.Popen(dev, stdout=log, stderr=log)
    began = time.monotonic()
    result = {"agents": asked.agents, "rate": asked.rate, "askers": asked.askers}
    try:
        while True:
            try:
                if Node().send("GET", "/readyz")[0] == 200:
                    break
            except OSError:
                pass
            if node.poll() is not None:
                sys.exit(f"the node left with {node.returncode}; see {log.name}")
            time.sleep(0.1)
        result["ready_seconds"] = round(time.monotonic() - began, 1)
        if not asked.folder:
            result["register_seconds"] = round(register(asked.agents, texts), 1)
        seconds, replica = settled(asked.agents)
        result.update(searchable_after_seconds=round(seconds, 1), replica=replica)
        result["milliseconds"], result["load"], result["replica_worst"] = measured(asked, texts, asked.binary)
        status = Path(f"/proc/{node.pid}/status").read_text()
        result["node_peak_bytes"] = int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) * 1024
    finally:
        node.terminate()
        node.wait()
    print(json.dumps(result))
    if not (asked.keep or asked.folder):
        shutil.rmtree(folder)
    else:
        print(f"kept: {folder}", file=sys.stderr)


if __name__ == "__main__":
    main()
