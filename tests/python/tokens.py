"""What an issuer of tokens has: its keys and its hand, also the forger's; and the web servers that say whose
keys and sessions are good."""

import base64
import hashlib
import hmac
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
from conftest import ROOT
from cryptography.hazmat.primitives.serialization import load_pem_public_key

KEYS = ROOT / "src/auth/tests/keys"
SECRET = "a secret of thirty-two bytes, ok"
#: Algorithm → the names of a key for it and of another of the same kind that the server does not have.
PAIRS = {
    "RS256": ("rsa", "rsa-other"),
    "PS256": ("rsa", "rsa-other"),
    "ES256": ("ec-p256", "ec-other"),
    "EdDSA": ("ed25519", None),
}
ALGORITHMS = ["HS256", *PAIRS]


def private(name):
    return (KEYS / f"{name}.pem").read_text()


def public(name):
    return (KEYS / f"{name}.pub.pem").read_text()


def options(algorithm):
    """How a server is told of the key for it."""
    if algorithm == "HS256":
        return {"AUTH__JWT__SECRET": SECRET}
    path = KEYS / f"{PAIRS[algorithm][0]}.pub.pem"
    return {"AUTH__JWT__PUBLIC_KEY": path, "AUTH__JWT__ALGORITHMS": algorithm}


def times(lasts=3600, ago=0):
    """Claims of a token that was made so many seconds ago and is good for so many from now."""
    now = int(time.time())
    return {"iat": now - ago, "exp": now + lasts}


def sign(algorithm="HS256", key=None, kid=None, **claims):
    """A token of ann's; a claim that is None is left out."""
    if key is None:
        key = SECRET if algorithm == "HS256" else private(PAIRS[algorithm][0])
    claims = {"sub": "ann", **times()} | claims
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, key, algorithm, headers={"kid": kid} if kid else None)


def encoded(part):
    part = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def forge(header, secret=None, **claims):
    """A token by hand, of any header; signed with the secret as HS256 does, or not at all."""
    message = f"{encoded(header)}.{encoded({'sub': 'ann', **times()} | claims)}"
    if secret is None:
        return message + "."
    return f"{message}.{encoded(hmac.digest(secret, message.encode(), hashlib.sha256))}"


def tampered(token, **claims):
    """The token with other claims under its signature."""
    header, body, signature = token.split(".")
    said = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return f"{header}.{encoded(said | claims)}.{signature}"


def jwk(name, algorithm, kid):
    """A public key as a member of a key set."""
    key = load_pem_public_key(public(name).encode())
    return json.loads(jwt.get_algorithm_by_name(algorithm).to_jwk(key)) | {"kid": kid, "use": "sig"}


class Web:
    """A web server in this process whose answer a test sets: `status`, `body`, `delay` in seconds; or a
    function of the request's header fields, `answer`, that gives status and body. What was asked is kept
    in `asked`."""

    def __init__(self, body=None):
        self.status, self.body, self.delay, self.answer = 200, body, 0, None
        self.asked = []
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                web.asked.append(self.headers)
                time.sleep(web.delay)
                status, body = web.answer(self.headers) if web.answer else (web.status, web.body)
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
