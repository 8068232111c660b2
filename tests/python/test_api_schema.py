"""What the API answers is what its document says, by schemathesis.

Requests are made from the document: its examples, the edges of each schema, and random ones, valid and
not. The same in every run.
"""

import http.client
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

#: Seconds of fuzzing; the document's own examples and edges come before it and take a few.
SECONDS = 20
#: Not "ignored_auth" and "missing_required_header": development mode wants no credentials. Not
#: "positive_data_acceptance": what counts in bytes, and which cursors there are, no schema says.
CHECKS = ",".join(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
        "negative_data_rejection",
        "unsupported_method",
    ]
)


def test_every_answer_is_one_that_the_document_names(server, tmp_path):
    command = Path(sys.executable).with_name("schemathesis")
    run = subprocess.run(
        [
            command,
            "run",
            f"{server.origin}/openapi.json",
            f"--checks={CHECKS}",
            "--phases=examples,coverage,fuzzing",
            "--max-examples=10",
            f"--max-time={SECONDS}",
            "--generation-deterministic",
            "--generation-with-security-parameters=false",
            "--request-timeout=10",
            "--no-shrink",
            "--no-color",
            "--warnings=off",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    # Out of time is no failure of the server's.
    assert "Failures:" not in run.stdout and "Errors:" not in run.stdout, run.stdout
    selected = re.search(r"Selected: (\d+)/(\d+)", run.stdout)
    assert selected and selected[1] == selected[2], run.stdout + run.stderr
    assert int(selected[1]) >= 20


@pytest.mark.parametrize("path", ["/openapi.json", "/nothing"])
def test_a_plain_client_reads_it(server, path):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    connection.request("GET", path)
    response = connection.getresponse()
    body = json.loads(response.read())
    if path == "/nothing":
        assert (response.status, body["code"]) == (404, "not_found")
        assert response.headers["x-request-id"] == body["request_id"]
    else:
        assert response.status == 200 and len(body["paths"]) > 10
    connection.close()


ROOT = Path(__file__).resolve().parents[2]


def commands(text):
    """What stands in its blocks for the shell."""
    return [rest.split("```")[0] for rest in text.split("```sh\n")[1:]]


def test_every_command_of_the_guide_does_what_it_says(server):
    blocks = commands((ROOT / "docs" / "HTTP_API.md").read_text())
    assert len(blocks) > 5
    # And those that README begins with.
    section = (ROOT / "README.md").read_text().split("## HTTP API, pairing, dashboard")[1].split("\n## ")[0]
    blocks += commands(section)
    for block in blocks:
        script = block.replace("127.0.0.1:8080", f"127.0.0.1:{server.port}")
        run = subprocess.run(
            ["bash", "-e", "-c", script], capture_output=True, text=True, timeout=30
        )
        assert run.returncode == 0, (block, run.stdout, run.stderr)
        assert run.stdout.startswith("{"), (block, run.stdout)
