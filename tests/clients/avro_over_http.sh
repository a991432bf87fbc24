#!/usr/bin/env bash
# Sends a command as Avro over HTTP with curl alone: the id of its schema from the registry that every node serves, and
# the bytes of the frame and the record by hand.
#
# `avro_over_http.sh URL TENANT`, as in http://127.0.0.1:7400.
set -euo pipefail

url=$1
tenant=$2
fail() { printf 'failed: %s\n' "$*" >&2; exit 1; }
ask() { curl -sS --fail-with-body --max-time 30 "$@"; }

# Avro's binary form: a count or an index is zigzagged (twice itself), here below 64, which is one byte.
whole() { printf "\\x$(printf %02x $((2 * $1)))"; }
text() { whole ${#1} && printf %s "$1"; }
# Confluent's frame: a zero, and the schema's id as four bytes, the highest first.
frame() { printf '\x00' && printf "$(printf %08x "$1" | sed 's/../\\x&/g')"; }

# RegisterAgent's fields, in the order of schemas/agent/RegisterAgent.avsc. The branch 0 of a union is null; an empty list
# or map is a block of none.
record() {
  text "$1"; text research; text 'finds papers'; text analyst   # name, category, purpose, role
  whole 0                                                       # instructions: null
  whole 1; text search; whole 0                                 # skills: a block of one, and the end
  whole 0                                                       # domains
  whole 0; whole 0                                              # owner, project: null
  whole 1                                                       # risk_tier: the symbol medium
  whole 0; whole 0; whole 0                                     # confidence_threshold, requirements, template: null
  whole 0                                                       # template_parameters
}

found=$(ask "$url/schema-registry/subjects/agentverse.agent.RegisterAgent/versions/latest")
id=$(sed -E 's/.*"id":([0-9]+).*/\1/' <<<"$found")

name="Lin by curl"
answer=$({ frame "$id"; record "$name"; } | ask "$url/v1/commands?wait=projected" --data-binary @- \
  -H 'content-type: application/avro' -H 'ce-type: agent.RegisterAgent' -H "ce-id: curl-$$-$RANDOM" \
  -H "ce-tenantid: $tenant")
agent=$(sed -nE 's/.*"subject":"([^"]+)","outcome":"applied".*/\1/p' <<<"$answer")
[ -n "$agent" ] || fail "$answer"

shown=$(ask -H "AgentVerse-Tenant: $tenant" "$url/v1/agents/$agent")
for part in "\"name\":\"$name\"" '"skills":["search"]' '"risk_tier":"medium"'; do
  [[ $shown == *"$part"* ]] || fail "$part is not in $shown"
done
printf 'agent %s was sent with schema %s\n' "$agent" "$id"
