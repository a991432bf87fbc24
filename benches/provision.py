#!/usr/bin/env python3
"""Provisions many tenants with one command that is killed on the way and run again, and counts what is there.

    cargo build --release && python3 benches/provision.py [--tenants 1000] [--agents 200] [--kills 2]

Starts `agentverse dev` on a fresh folder below target, applies a manifest, kills the command (SIGKILL) at even shares of the
tenants, runs it again to its end, and once more, which must change nothing. Then it asks the node for every tenant and agent,
ends it, and runs `check --deep` on the folder. Leaves with 1 when any count is not exact. Prints a line of JSON.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BINARY = ROOT / "target/release/agentverse"
URL = "http://127.0.0.1:7506"
MANIFEST = """
apiVersion: agentverse/v1
kind: Provisioning
defaults:
  tier: opal
  regions: [eu-west, us-east, ap-south]
  monthly_budget_usd: 250
  projects: [{{name: research}}]
  agents:
    - group: analysts
      count: {agents}
      name: "{{tenant}}-analyst-{{n:05}}"
      template: Research Analyst
      parameters: {{company: "{{tenant}}", field: "{{region}}"}}
      project: research
tenants:
  - {{name: "branch-{{n:05}}", count: {tenants}}}
"""


def read(path, tenant=None):
    request = urllib.request.Request(URL + path, headers={"AgentVerse-Tenant": tenant} if tenant else {})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def walk(path, tenant=None):
    cursor = ""
    while cursor is not None:
        page = read(f"{path}{'&' if '?' in path else '?'}limit=1000{cursor and '&cursor=' + cursor}", tenant)
        yield from page["items"]
        cursor = page["next_cursor"]


def peak_bytes(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) * 1024


def provision(verb, manifest, *args):
    command = [BINARY, "provision", verb, manifest, "--url", URL, "--output", "json", *args]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def killed(manifest, tenants_done):
    """Applies until so many tenants were told, then kills the command."""
    process = provision("apply", manifest)
    told = 0
    for line in process.stdout:
        told += "summary" not in json.loads(line)
        if told >= tenants_done:
            process.kill()
            break
    return process.wait(), told


def finished(verb, manifest):
    """Runs to the end: exit code, summary, seconds, and the most memory that was seen."""
    began, process, peak, last = time.monotonic(), provision(verb, manifest), 0, ""
    for line in process.stdout:
        last = line
        peak = max(peak, peak_bytes(process.pid))
    return process.wait(), json.loads(last)["summary"], round(time.monotonic() - began, 1), peak


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tenants", type=int, default=1000)
    parser.add_argument("--agents", type=int, default=200)
    parser.add_argument("--kills", type=int, default=2)
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="provision.", dir=ROOT / "target"))
    manifest = folder / "fleet.yaml"
    manifest.write_text(MANIFEST.format(tenants=asked.tenants, agents=asked.agents))
    log = (folder / "log").open("w")
    dev = [BINARY, "dev", "--data", folder / "data", "--http", URL.removeprefix("http://")]
    node = subprocess.Popen(dev, stdout=log, stderr=log)
    faults = []
    try:
        while True:
            try:
                urllib.request.urlopen(URL + "/readyz", timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        began = time.monotonic()
        kills = []
        for number in range(asked.kills):
            # What earlier runs had done is told too, so that each is killed at its share of the whole.
            kills.append(killed(manifest, asked.tenants * (number + 1) // (asked.kills + 1))[1])
        code, summary, _, peak = finished("apply", manifest)
        seconds = round(time.monotonic() - began, 1)
        if code != 0 or summary["tenants"]["wanted"] != asked.tenants:
            faults.append(f"apply left with {code}: {summary}")
        code, again, again_seconds, again_peak = finished("apply", manifest)
        if code != 0 or again["commands"] != 0 or again["agents"]["unchanged"] != asked.tenants * asked.agents:
            faults.append(f"the second apply was to change nothing: {again}")
        tenants = [it for it in walk("/v1/tenants") if it["name"].startswith("branch-")]
        agents, active = set(), 0
        for tenant in tenants:
            for agent in walk("/v1/agents", tenant["id"]):
                agents.add(agent["id"])
                active += agent["status"] == "active" and agent["version"] == 2
        if (len(tenants), len(agents), active) != (asked.tenants,) + (asked.tenants * asked.agents,) * 2:
            faults.append(f"{len(tenants)} tenants, {len(agents)} agents, {active} of them active at version 2")
        node_peak = peak_bytes(node.pid)
    finally:
        node.terminate()
        node.wait()
    check = subprocess.run([BINARY, "check", "--deep", "--data", folder / "data", "--output", "json"], capture_output=True)
    if check.returncode != 0:
        faults.append(f"check --deep left with {check.returncode}")
    print(json.dumps({
        "tenants": len(tenants), "agents": len(agents), "killed_after_tenants": kills, "seconds": seconds,
        "agents_per_second": round(len(agents) / seconds), "second_apply_seconds": again_seconds,
        "command_peak_bytes": max(peak, again_peak), "node_peak_bytes": node_peak, "faults": faults,
    }))
    if not faults:
        shutil.rmtree(folder)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
