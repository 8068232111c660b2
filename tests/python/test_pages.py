"""The chat page's files, as a browser gets them in development mode."""

import http.client

import pytest


@pytest.mark.parametrize(
    ("path", "media_type", "begins"),
    [
        ("/", "text/html; charset=utf-8", b"<!doctype html>"),
        ("/chat.css", "text/css", b"/*"),
        ("/chat.js", "text/javascript", b"//"),
        ("/connection.js", "text/javascript", b"//"),
    ],
)
def test_the_files_of_the_chat_page_have_their_types(server, path, media_type, begins):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    connection.request("GET", path)
    response = connection.getresponse()
    assert response.status == 200
    assert response.headers["content-type"].startswith(media_type)
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.read().startswith(begins)
    connection.close()
