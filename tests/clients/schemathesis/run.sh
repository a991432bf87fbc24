#!/usr/bin/env bash
# Holds a running server against its description with schemathesis, a tool that makes requests from the description alone:
# well-meant ones that must be taken, and wrong ones that must be refused; no answer may be one that is not described, and
# none an error of the server.
#
#   run.sh URL TENANT [schemathesis' arguments]     as in http://127.0.0.1:7400; the tenant is provisioned
#
# What is not checked, and why, stands in schemathesis.toml and hooks.py. The packages go below target/tools, or into
# AGENTVERSE_SCHEMATHESIS; where they cannot be had, it ends with 69.
set -euo pipefail

url=$1
tenant=$2
shift 2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tools=${AGENTVERSE_SCHEMATHESIS:-$here/../../../target/tools/schemathesis}

install() {
  command -v curl >/dev/null && python3 -m venv --clear "$tools" &&
    "$tools/bin/pip" install --quiet --disable-pip-version-check --requirement "$here/requirements.txt" &&
    cp "$here/requirements.txt" "$tools/"
}
if ! cmp -s "$here/requirements.txt" "$tools/requirements.txt" && ! install >&2; then
  printf 'failed: curl, Python or its packages cannot be had\n' >&2
  exit 69
fi

curl -sS --fail "$url/openapi.json" | "$tools/bin/python" "$here/examples.py"
curl -sS --fail-with-body -o /dev/null "$url/v1/tenants?wait=projected" -H "AgentVerse-Tenant: $tenant" \
  -H 'content-type: application/json' -d '{"name":"Described"}'
# Compiled files do not belong into the source tree, nor does what schemathesis remembers of a run.
cd "$tools"
export PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$here
exec bin/st --config-file "$here/schemathesis.toml" run "$url/openapi.json" --header "AgentVerse-Tenant: $tenant" "$@"
