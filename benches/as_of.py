#!/usr/bin/env python3
"""Does `as_of` tell what the log tells? Folds exported history by itself, asks at random, compares.

    python3 benches/as_of.py [--url http://127.0.0.1:7400] [--tenant UUID] [--make 2000] [--questions 1000] [--seed N]

With `--make` a tenant of its own gets so many random commands to agents and couplings first. What is folded is the NDJSON of
`--log FILE` (an entry of a history on each line, all up to its newest), or every history as HTTP gives it. Nothing here knows how AgentVerse folds:
`agent` and `coupling` below are the whole of it. Ends with 1 and the first difference where there is one.
"""

import argparse
import json
import random
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections import defaultdict
from datetime import datetime, timedelta, timezone

HOLDS = ["manual", "tenant", "provider"]
LISTS_PERCENT = 10
BATCH = 50


def agent(state, kind, data):
    state.update(data.get("profile", {}))
    if kind == "AgentRegistered":
        state.update(lifecycle="provisioning", revision=1, template=data["template"], health="unknown", reason="")
    elif kind == "AgentRevised":
        state["revision"] = data["revision"]
    elif kind == "AgentHealthChanged":
        state["health"] = data["after"]
    else:
        after = {"AgentActivated": "active", "AgentIdled": "idle", "AgentMaintained": "maintenance"}
        state.update(lifecycle=after.get(kind, "decommissioned"), reason=data.get("reason", ""))
    state["status"] = state["lifecycle"]


def coupling(state, kind, data):
    if "request" in data and kind != "CompletionRequested":
        state.update({name: data["request"][name] for name in ("agent_id", "mcp_server_id", "objective")})
    if "binding" in data:
        model = data["binding"]["model"]
        state["model"] = {**model, "provider": data["binding"]["provider_name"]}
    held = state.setdefault("held", {})
    if kind == "CouplingEstablished":
        state.update(status="active", reasons=[])
    elif kind == "CouplingRefused":
        state.update(status="refused", reasons=data["reasons"])
    elif kind == "CouplingRebound":
        state["reason"] = data["reason"]
    elif kind == "CouplingSuspended":
        held[data["hold"]] = data["reason"]
        state.update(status="suspended", reason=data["reason"])
    elif kind == "CouplingResumed":
        held.pop(data["hold"], None)
        still = [held[hold] for hold in HOLDS if hold in held]
        state.update(status=state["status"] if still else "active", reason=(still or [""])[0])
    elif kind == "CouplingEnded":
        held.clear()
        state.update(status="ended", reason=data["reason"])
    state["holds"] = [hold for hold in HOLDS if hold in held]


FOLDS = {"agents": agent, "couplings": coupling}


STATUSES = {
    "agents": ("provisioning", "active", "idle", "maintenance", "decommissioned"),
    "couplings": ("active", "suspended", "refused", "ended"),
}


def fold(plural, events):
    """A resource after these events; None before the first."""
    state = {}
    for event in events:
        FOLDS[plural](state, event["type"].split(".")[1], event["data"])
        state.update(version=event["version"], updated_at=event["recorded_at"])
        state.setdefault("created_at", event["recorded_at"])
    state.pop("held", None)
    return state or None


class Api:
    def __init__(self, url, tenant):
        self.url, self.tenant = url, tenant

    def ask(self, path, body=None):
        headers = {"AgentVerse-Tenant": self.tenant, "content-type": "application/cloudevents-batch+json"}
        data = None if body is None else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(urllib.request.Request(self.url + path, data, headers), timeout=60) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def read(self, path):
        status, body = self.ask(path)
        if status != 200:
            sys.exit(f"GET {path}: {status} {body}")
        return body

    def walk(self, path):
        cursor, sign = "", "&" if "?" in path else "?"
        while True:
            page = self.read(f"{path}{sign}limit=1000{cursor}")
            yield from page["items"]
            if not page["next_cursor"]:
                return
            cursor = "&cursor=" + page["next_cursor"]


def make(api, count, draw):
    """Random commands, many of them refused: to a few agents and their couplings."""
    name = lambda: str(uuid.UUID(int=draw.getrandbits(128), version=4))
    agents, server, provider, couplings = [name() for _ in range(count // 40 + 2)], name(), name(), []
    models = [{"model_id": "large", "tool_calling": True, "quality": 0.9, "context_tokens": 100_000,
               "input_modalities": ["text"], "output_modalities": ["text"],
               "input_micro_usd_per_million": 1_000, "output_micro_usd_per_million": 2_000}]
    tools = [{"name": "search", "description": "Search papers"}]
    commands = [
        ("tenant.ProvisionTenant", api.tenant, {"name": "As of", "tier": "emerald", "coupling_threshold": 0.0}),
        ("mcp_server.RegisterMcpServer", server, {"name": "library", "endpoint": "https://library.example/", "tools": tools}),
        ("llm_provider.RegisterLlmProvider", provider, {"name": "house", "models": models}),
    ]
    while len(commands) < count:
        to, reason = draw.choice(agents), f"reason {len(commands)}"
        one = draw.choice(couplings) if couplings else to
        kind, to, data = draw.choice([
            ("agent.RegisterAgent", to, {"name": "ada", "category": "research", "skills": ["search"]}),
            ("agent.ReviseAgent", to, {"name": f"ada {len(commands)}", "owner": draw.choice(["", "lab"])}),
            ("agent.ReviseAgent", to, {"skills": draw.sample(["search", "read", "write"], 2), "risk_tier": "high"}),
            ("agent.ActivateAgent", to, {}), ("agent.IdleAgent", to, {}),
            ("agent.MaintainAgent", to, {"reason": reason}),
            ("agent.ReportAgentHealth", to, {"health": draw.choice(["active", "degraded", "offline"]), "reason": reason}),
            ("coupling.RequestCoupling", name(), {"agent_id": to, "mcp_server_id": server}),
            ("coupling.SuspendCoupling", one, {"hold": "manual", "reason": reason}),
            ("coupling.ResumeCoupling", one, {"hold": "manual"}),
            (draw.choice(["coupling.EndCoupling", "coupling.RebindCoupling"]), one, {"reason": reason}),
            (draw.choice(["agent.DecommissionAgent"] + 9 * ["agent.ActivateAgent"]), to, {}),
        ])
        if kind == "coupling.RequestCoupling":
            couplings.append(to)
        commands.append((kind, to, data))
    # First those that others look at.
    for batch in [commands[:3]] + [commands[at:at + BATCH] for at in range(3, len(commands), BATCH)]:
        events = [{"id": name(), "type": kind, "subject": to, "data": data} for kind, to, data in batch]
        status, answer = api.ask("/v1/commands?wait=applied&timeout_ms=30000", events)
        bad = [item for item in answer.get("items", [answer]) if item.get("outcome") not in ("applied", "refused")]
        if status != 200 or bad:
            sys.exit(f"commands were not decided: {status} {bad}")


def exported(api, log):
    """The events of every agent and coupling, oldest first, by plural and id."""
    if log:
        lines = (json.loads(line) for line in open(log) if line.strip())
        entries = (entry for entry in lines if entry["tenant"] == api.tenant)
    else:
        entries = (entry for plural in FOLDS for item in api.walk(f"/v1/{plural}")
                   for entry in api.walk(f"/v1/{plural}/{item['id']}/history"))
    log = {plural: defaultdict(list) for plural in FOLDS}
    for entry in entries:
        plural = entry["type"].split(".")[0] + "s"
        if entry["kind"] == "event" and plural in log:
            log[plural][entry["subject"]].append(entry)
    for streams in log.values():
        for events in streams.values():
            events.sort(key=lambda event: event["version"])
    return log


def spelled(moment, draw):
    """A time in one of the ways that RFC 3339 has, escaped."""
    offset = timezone(timedelta(minutes=draw.choice([0, 60, -330, 765])))
    return moment.astimezone(offset).isoformat(timespec="microseconds").replace("+", "%2B")


def question(log, until, draw):
    """A path, and the answer that the log gives: a status and what must be in the body."""
    plural = draw.choice([plural for plural in log if log[plural]])
    id, events = draw.choice(sorted(log[plural].items()))
    stamps = [event["recorded_at"] for event in events]
    around = datetime.fromisoformat(draw.choice(stamps).replace("Z", "+00:00"))
    early = around - timedelta(seconds=1)
    moment = draw.choice([
        around, around + timedelta(microseconds=draw.choice([-1, 1])), until,
        early + (until - early) * draw.random(),
    ])
    moment = min(moment, until)
    stamp = moment.astimezone(timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z")
    then = lambda events: [event for event in events if event["recorded_at"] <= stamp]
    if draw.randrange(100) < LISTS_PERCENT:
        path = f"/v1/{plural}?as_of={spelled(moment, draw)}"
        there = {id: fold(plural, then(events)) for id, events in log[plural].items()}
        status = draw.choice([None, *STATUSES[plural]])
        there = {id: it for id, it in there.items() if it and status in (None, it["status"])}
        return path + (f"&status={status}" if status else ""), 200, there
    if draw.random() < 0.4:
        version = draw.randint(1, len(events) + 1)
        version += 1_000_000 * (version > len(events))
        path = f"/v1/{plural}/{id}?as_of={version}"
        return (path, 200, fold(plural, events[:version])) if version <= len(events) else (path, 404, "no_such_version")
    path, there = f"/v1/{plural}/{id}?as_of={spelled(moment, draw)}", fold(plural, then(events))
    return (path, 200, there) if there else (path, 404, "not_yet_there")


def answered(api, path, status, expected):
    """What differs; None where nothing does."""
    missing = lambda found, expected: {name: (found.get(name), value) for name, value in expected.items()
                                       if found.get(name) != value}
    if "?as_of=" in path and path.count("/") == 2:
        found = {item["id"]: item for item in api.walk(path)}
        if found.keys() != expected.keys():
            return f"it shows {len(found)}, the log {len(expected)}: {sorted(found.keys() ^ expected.keys())[:3]}"
        return next((f"{id}: {bad}" for id in found if (bad := missing(found[id], expected[id]))), None)
    found_status, found = api.ask(path)
    if found_status != status:
        return f"{found_status} {found}, not {status}"
    if status == 404:
        return None if found["code"] == expected else f"{found['code']}, not {expected}"
    return missing(found, expected) or None


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--url", default="http://127.0.0.1:7400")
    options.add_argument("--tenant", type=uuid.UUID, help="whose resources; with --make a new one unless named")
    options.add_argument("--make", type=int, default=0, metavar="COMMANDS")
    options.add_argument("--log", metavar="FILE", help="NDJSON to fold in place of the histories over HTTP")
    options.add_argument("--questions", type=int, default=1_000)
    options.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = options.parse_args()
    draw = random.Random(options.seed)
    made = str(uuid.UUID(int=draw.getrandbits(128), version=4))
    if not options.tenant and not options.make:
        sys.exit("name the tenant with --tenant, or make one with --make 2000")
    api = Api(options.url, str(options.tenant or made))
    if options.make:
        make(api, options.make, draw)
    # What is recorded from now on need not be in the export.
    until = datetime.now(timezone.utc)
    log = exported(api, options.log)
    events = sum(len(events) for streams in log.values() for events in streams.values())
    if not events:
        sys.exit("the tenant has no agents and no couplings")
    if options.log:
        newest = max(event["recorded_at"] for streams in log.values() for events in streams.values() for event in events)
        until = min(until, datetime.fromisoformat(newest.replace("Z", "+00:00")))
    began, kinds = time.monotonic(), defaultdict(int)
    for number in range(options.questions):
        path, status, expected = question(log, until, draw)
        kinds[expected if status == 404 else "list" if isinstance(expected, dict) and path.count("/") == 2 else "shown"] += 1
        if difference := answered(api, path, status, expected):
            sys.exit(f"question {number} of seed {options.seed}: {path}\n{difference}")
    print(json.dumps({
        "questions": options.questions, "differences": 0, "seed": options.seed, "events": events,
        "resources": sum(map(len, log.values())), "asked": dict(kinds), "seconds": round(time.monotonic() - began, 1),
    }))
