#!/usr/bin/env python3
"""What a gateway costs: requests per second and latency before the same stand-in provider, side by side.

    cargo build --release && python3 benches/gateways.py [--seconds 10] [--rounds 3]

Runs `hey` with 1 and with 32 connections against the stand-in itself, `agentverse dev` (every request recorded durably),
the TensorZero gateway (observability off), the Portkey gateway and the LiteLLM proxy, one after the other, round by round,
and prints the medians. Installs what it needs below target/gateways with go, npm and pip; a gateway that cannot be had is
left out with a word. Everything listens on loopback and is ended at the end.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BINARY = ROOT / "target/release/agentverse"
FOLDER = ROOT / "target/gateways"
TENANT = "6f1c2a52-0d5e-4c3b-9a77-1f0f6f1f9b01"
PROVIDER, OURS, LITELLM, PORTKEY, TENSORZERO = 7501, 7502, 7503, 7504, 7505
HEY = "github.com/rakyll/hey@v0.1.4"
# Started in a process of its own: the package brings the gateway as a library.
TENSORZERO_START = """
import asyncio, sys, tensorzero
async def main():
    started = tensorzero._start_http_gateway(
        config_file=sys.argv[1], clickhouse_url=None, postgres_url=None, valkey_url=None, async_setup=True)
    gateway = await started
    print(gateway.base_url, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


def run(*command, **options):
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL, **options)


def answers(url, headers=None, body=None, method=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json", **(headers or {})}, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read() or b"null")


class Processes:
    """Started here, ended here, by their ids."""

    def __init__(self, logs):
        self.logs, self.all = Path(logs), []

    def start(self, name, *command, **options):
        log = open(self.logs / f"{name}.log", "w")
        process = subprocess.Popen([str(part) for part in command], stdout=log, stderr=log, **options)
        self.all.append(process)
        return process

    def end(self):
        for process in self.all:
            process.terminate()
        for process in self.all:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


class Target:
    def __init__(self, name, url, model="m", headers=()):
        self.name, self.url, self.model, self.headers = name, url, model, dict(headers)

    def body(self):
        messages = [{"role": "user", "content": "Say hello to the world."}]
        return {"model": self.model, "messages": messages, "max_tokens": 16}

    def wait(self, process):
        for _ in range(600):
            if process is not None and process.poll() is not None:
                raise RuntimeError(f"{self.name} ended with {process.returncode}")
            try:
                return answers(self.url, self.headers, self.body())
            except OSError:
                time.sleep(0.2)
        raise RuntimeError(f"{self.name} does not answer")

    def measure(self, hey, folder, connections, seconds):
        body = folder / f"{self.name}.json"
        body.write_text(json.dumps(self.body()))
        command = [hey, "-z", f"{seconds}s", "-c", str(connections), "-t", "30", "-m", "POST"]
        command += ["-T", "application/json", "-D", str(body)]
        command += [part for name, value in self.headers.items() for part in ("-H", f"{name}: {value}")]
        said = subprocess.run([*command, self.url], check=True, capture_output=True, text=True).stdout
        statuses = dict(re.findall(r"\[(\d+)\]\s+(\d+) responses", said))
        if set(statuses) != {"200"} or "Error distribution" in said:
            raise RuntimeError(f"{self.name}: not all answers were 200:\n{said}")
        per_second = float(re.search(r"Requests/sec:\s+([\d.]+)", said)[1])
        share = lambda percent: float(re.search(rf"{percent}%+ in ([\d.]+) secs", said)[1]) * 1e3
        return per_second, share(50), share(99)


def hey():
    path = FOLDER / "go/bin/hey"
    if not path.exists():
        run("go", "install", HEY, env={**os.environ, "GOBIN": str(path.parent)})
    return path


def stand_in(processes):
    process = processes.start(
        "provider", BINARY, "fake-provider", "--http", f"127.0.0.1:{PROVIDER}", "--output-tokens", "fixed:16"
    )
    target = Target("direct", f"http://127.0.0.1:{PROVIDER}/v1/chat/completions")
    target.wait(process)
    return target


def agentverse(processes, folder):
    keys = folder / "keys.json"
    keys.write_text(json.dumps({"STAND_IN_KEY": {"env": "PATH", "hosts": ["http://127.0.0.1"]}}))
    # A tenant may make 10,000 requests a minute at most; here nobody is to be held back.
    settings = [f"llm_keys_file={keys}", "tier_diamond_requests_per_minute=10000000"]
    process = processes.start(
        "agentverse", BINARY, "dev", "--data", folder / "data", "--http", f"127.0.0.1:{OURS}",
        *[part for setting in settings for part in ("--set", setting)],
    )
    base, tenant = f"http://127.0.0.1:{OURS}", {"AgentVerse-Tenant": TENANT}
    for _ in range(300):
        try:
            answers(f"{base}/readyz")
            break
        except OSError:
            time.sleep(0.2)
    answers(f"{base}/v1/tenants", tenant, {"name": "Acme", "tier": "diamond"})
    price = {"input_micro_usd_per_million": 150000, "output_micro_usd_per_million": 600000}
    provider = {"name": "fake", "wire_protocol": "openai", "endpoint": f"http://127.0.0.1:{PROVIDER}/v1"}
    provider |= {"api_key_env": "STAND_IN_KEY", "models": [{"model_id": "m", **price}]}
    answers(f"{base}/v1/llm-providers", tenant, provider)
    target = Target("AgentVerse", f"{base}/v1/chat/completions", "fake/m", tenant)
    target.wait(process)
    return target


def python(name, *packages):
    folder = FOLDER / name
    if not (folder / "done").exists():
        run(sys.executable, "-m", "venv", "--clear", folder)
        run(folder / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages)
        (folder / "done").touch()
    return folder / "bin"


def litellm(processes, folder):
    config = folder / "litellm.json"
    upstream = {"model": "openai/m", "api_base": f"http://127.0.0.1:{PROVIDER}/v1", "api_key": "none"}
    config.write_text(json.dumps({"model_list": [{"model_name": "m", "litellm_params": upstream}]}))
    process = processes.start(
        "litellm", python("litellm", "litellm[proxy]") / "litellm", "--config", config,
        "--host", "127.0.0.1", "--port", LITELLM, "--telemetry", "False",
        # Without a key it checks none, as the others here.
        env={**os.environ, "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true"},
    )
    target = Target("LiteLLM", f"http://127.0.0.1:{LITELLM}/v1/chat/completions")
    target.wait(process)
    return target


def portkey(processes, folder):
    package = FOLDER / "portkey/node_modules/@portkey-ai/gateway"
    if not package.exists():
        (FOLDER / "portkey").mkdir(parents=True, exist_ok=True)
        run("npm", "install", "--silent", "--prefix", FOLDER / "portkey", "@portkey-ai/gateway")
    process = processes.start(
        "portkey", "node", package / "build/start-server.js", f"--port={PORTKEY}", "--headless",
        env={**os.environ, "TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost"},
    )
    headers = {"x-portkey-provider": "openai", "x-portkey-custom-host": f"http://127.0.0.1:{PROVIDER}/v1"}
    headers["authorization"] = "Bearer none"
    target = Target("Portkey", f"http://127.0.0.1:{PORTKEY}/v1/chat/completions", "m", headers)
    target.wait(process)
    return target


def tensorzero(processes, folder):
    config = folder / "tensorzero.toml"
    config.write_text(f"""
[gateway]
bind_address = "127.0.0.1:{TENSORZERO}"
observability.enabled = false
[models.m]
routing = ["fake"]
[models.m.providers.fake]
type = "openai"
model_name = "m"
api_base = "http://127.0.0.1:{PROVIDER}/v1/"
api_key_location = "none"
""")
    interpreter = python("tensorzero", "tensorzero") / "python"
    process = processes.start("tensorzero", interpreter, "-c", TENSORZERO_START, config)
    for _ in range(150):
        said = (folder / "tensorzero.log").read_text()
        if "http://" in said or process.poll() is not None:
            break
        time.sleep(0.2)
    base = re.search(r"^(http://\S+)$", said, re.M)
    if base is None:
        raise RuntimeError(f"it did not start: {said[-500:]}")
    url = f"{base[1].rstrip('/')}/chat/completions"
    target = Target("TensorZero", url, "tensorzero::model_name::m")
    target.wait(process)
    return target


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help="names of gateways, with commas")
    options = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as name:
        folder = Path(name)
        processes = Processes(folder)
        try:
            report(measured(processes, folder, options))
        finally:
            processes.end()


def measured(processes, folder, options):
    load, targets = hey(), [stand_in(processes)]
    for start in (agentverse, tensorzero, portkey, litellm):
        if options.only and start.__name__ not in options.only.split(","):
            continue
        try:
            targets.append(start(processes, folder))
        except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
            print(f"{start.__name__} is left out: {error}", file=sys.stderr)
    found = {}
    # One more round than is counted: the first warms up.
    for round in range(options.rounds + 1):
        for target in targets:
            for connections in (1, 32):
                figures = target.measure(load, folder, connections, options.seconds)
                if round > 0:
                    found.setdefault((target.name, connections), []).append(figures)
    return found


def report(found):
    median = {key: [statistics.median(part) for part in zip(*figures)] for key, figures in found.items()}
    for connections in (1, 32):
        direct = median[("direct", connections)]
        ours = median.get(("AgentVerse", connections))
        print(f"\n{connections} connections | requests/s | p50 ms | p99 ms | added p50 | added p99 | AgentVerse is")
        for (name, count), (rate, p50, p99) in median.items():
            if count == connections:
                times = f"{ours[0] / rate:.1f} x" if ours else ""
                added = f"{p50 - direct[1]:.1f} | {p99 - direct[2]:.1f}"
                print(f"{name} | {rate:,.0f} | {p50:.1f} | {p99:.1f} | {added} | {times}")


main()
