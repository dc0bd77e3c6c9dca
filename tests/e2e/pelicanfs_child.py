"""Runs pelicanfs on behalf of a test, in the environment of the Python clients.

Reads from standard input a JSON object: `federation` (the `pelican://` URL), `direct_reads`, and `calls`, a list of
`[method, argument, …]`. Writes a JSON list, one element per call: `{"result": …}`, or `{"error": "<as Python shows it>"}`.
Bytes come as their length and SHA-256.
"""

import hashlib
import json
import sys
from collections.abc import Iterator

from pelicanfs import PelicanFileSystem  # type: ignore[import-not-found]


def presentable(value: object) -> object:
    """Return a result in a form that JSON has."""
    if isinstance(value, bytes):
        return {"bytes": len(value), "sha256": hashlib.sha256(value).hexdigest()}
    if isinstance(value, dict):
        return {str(key): presentable(element) for key, element in value.items()}
    if isinstance(value, (list, tuple, set, Iterator)):
        return [presentable(element) for element in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def main() -> None:
    """Do what standard input says."""
    task = json.load(sys.stdin)
    file_system = PelicanFileSystem(
        task["federation"], direct_reads=task["direct_reads"], skip_instance_cache=True, use_listings_cache=False
    )
    answers: list[dict[str, object]] = []
    for method, *arguments in task["calls"]:
        if method == "servers_used":
            responses, _ = file_system.get_access_data().get_responses(arguments[0])
            answers.append({"result": [response.access_path for response in responses if response.success]})
            continue
        try:
            answers.append({"result": presentable(getattr(file_system, method)(*arguments))})
        except Exception as error:  # noqa: BLE001 - whatever it is, the test judges it
            answers.append({"error": repr(error)})
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
