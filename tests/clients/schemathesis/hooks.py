"""What holds between the parameters of this interface and no OpenAPI description can say, for schemathesis.

Only requests that are to be taken are changed; those that are to be refused are sent as they were made.
"""

import re
from datetime import datetime, timezone

import schemathesis

NOW = datetime.now(timezone.utc)
# Texts that only the server makes.
OPAQUE = ("cursor", "Last-Event-ID")
EVENT = "application/cloudevents"
# What the description calls a text, the tool is to send as one.
LINES = ["application/x-ndjson", "application/jsonl", "application/json-seq", "application/json-lines"]
schemathesis.serializer.alias(LINES, "text/plain")


def is_past(text):
    try:
        return datetime(1970, 1, 2, tzinfo=timezone.utc) < datetime.fromisoformat(text.upper().replace("Z", "+00:00")) < NOW
    except (ValueError, TypeError, AttributeError):
        return False


def is_meant_well(case):
    return case.meta is None or case.meta.generation.mode.is_positive


@schemathesis.hook
def filter_case(context, case):
    """In binary mode body and headers belong together, and Avro is bytes by a schema that is not the description's."""
    if not is_meant_well(case) or case.operation.path != "/v1/commands":
        return True
    events = case.body if isinstance(case.body, list) else [case.body]
    is_json = all(isinstance(event, dict) and "data_base64" not in event for event in events)
    return case.media_type.startswith(EVENT) and is_json


@schemathesis.hook
def map_case(context, case):
    if not is_meant_well(case):
        return case
    query, headers, path = case.query or {}, case.headers or {}, case.operation.path
    for name in OPAQUE:
        query.pop(name, None)
        headers.pop(name, None)
    # The tool has values of its own for this header, and some are none.
    if not re.fullmatch(r'"[0-9]{1,18}"', str(headers.get("If-Match"))):
        headers.pop("If-Match", None)
    # Searches, sorts and words show the present.
    if not is_past(query.get("as_of")) and not (path.endswith("{id}") and str(query.get("as_of")).isdigit()):
        query.pop("as_of", None)
    if "q" in query and ("as_of" in query or not any(letter.isalnum() for letter in str(query["q"]))):
        query.pop("q")
    if "sort" in query and ("as_of" in query or "q" not in query):
        query.pop("sort")
    if "q" in query or "sort" in query:
        query.pop("id", None)
    if path == "/v1/usage":
        # A key is of its dimension, and times are not further apart than so many windows.
        for name in ("key", "from", "to"):
            query.pop(name, None)
    if path == "/v1/events" and query.get("from") not in ("now", "beginning") and not is_past(query.get("from")):
        query.pop("from", None)
    if path == "/v1/events":
        # The tenant is the header's, and types are of the aggregates.
        query.pop("tenant", None)
        query.pop("aggregate" if "type" in query else "", None)
    if path == "/v1/commands":
        for name in [name for name in headers if name.lower().startswith("ce-")]:
            headers.pop(name)
        for event in case.body if isinstance(case.body, list) else [case.body]:
            event.pop("tenantid", None)
    return case
