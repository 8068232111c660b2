"""Pairings outlive the server where it has a store, which it has with a configuration file."""

import json
import signal
import urllib.request
from urllib.error import HTTPError

import pytest


def ask(server, method, path, body=None):
    """Status and JSON of an answer."""
    request = urllib.request.Request(
        f"{server.origin}/api/v1/connections{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            return response.status, json.load(response)
    except HTTPError as error:
        return error.code, json.load(error)


@pytest.mark.config("[pairing]\nmax_pending_per_player = 2\n")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_pairings_outlive_the_server_without_a_word_about_the_store(server, number):
    _, pending = ask(server, "POST", "", {"player_id": "ann", "name": "Friday"})
    _, other = ask(server, "POST", "", {"player_id": "ann"})
    status, active = ask(server, "POST", "/join", {"player_id": "bob", "code": other["code"]})
    assert (status, active["status"]) == (200, "active")
    server.restart(number)
    assert ask(server, "GET", f"/{pending['id']}?player_id=ann") == (200, pending)
    assert ask(server, "GET", f"/{active['id']}?player_id=bob") == (200, active)
    status, joined = ask(server, "POST", "/join", {"player_id": "cleo", "code": pending["code"]})
    assert (status, joined["player_ids"]) == (200, ["ann", "cleo"])


@pytest.mark.config('[store]\npath = ""\n')
def test_without_a_store_they_do_not(server):
    _, pending = ask(server, "POST", "", {"player_id": "ann"})
    server.restart()
    assert ask(server, "GET", f"/{pending['id']}?player_id=ann")[0] == 404


@pytest.mark.config("[pairing]\nmax_pending_per_player = 1\n")
def test_who_has_too_many_that_wait_is_told_until_when(server):
    assert ask(server, "POST", "", {"player_id": "ann"})[0] == 201
    status, error = ask(server, "POST", "", {"player_id": "ann"})
    assert (status, error["code"], error["details"]["reason"]) == (429, "rate_limited", "pending")
    assert 0 < error["details"]["retry_after_ms"] <= 600_000
