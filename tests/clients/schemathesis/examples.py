"""Reads an OpenAPI description from standard input and holds it against OpenAPI's own schema, and every example in it against
the schema that it stands beside."""

import json
import sys

from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate

document = json.load(sys.stdin)
validate(document)
count = 0


def look(schema, examples, place):
    global count
    schema = {"allOf": [schema], "components": document["components"]}
    validator = OAS31Validator(schema, format_checker=OAS31Validator.FORMAT_CHECKER)
    for example in examples:
        count += 1
        for error in validator.iter_errors(example):
            sys.exit(f"{place}: the example {json.dumps(example)[:300]} does not fit: {error.message[:300]}")


def walk(value, place):
    if isinstance(value, dict):
        if isinstance(value.get("schema"), dict):
            examples = value.get("examples", {})
            examples = [it["value"] for it in examples.values()] if isinstance(examples, dict) else examples
            look(value["schema"], examples + ([value["example"]] if "example" in value else []), place)
        elif isinstance(value.get("examples"), list):
            look(value, value["examples"], place)
        for name, below in value.items():
            if name not in ("example", "examples", "const", "enum", "default"):
                walk(below, f"{place}/{name}")
    elif isinstance(value, list):
        for at, below in enumerate(value):
            walk(below, f"{place}/{at}")


walk(document, "")
assert count > 50, count
print(f"{len(document['paths'])} paths, {count} examples that fit")
