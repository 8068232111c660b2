// The built binary over TLS: Node's `ws` and `https`, and the chat page in Chromium.
//
// The page is part of development mode, which has no certificates: its files are handed to Chromium by the
// test, and all else that the page asks for goes over TLS to the server.

import assert from "node:assert/strict";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import https from "node:https";
import net from "node:net";
import path from "node:path";
import { after, before, describe, test } from "node:test";

import WebSocket from "ws";

import { Authority } from "./authority.mjs";
import { launchChromium, ROOT, Server, Tab } from "./support.mjs";

let authority;
let server;
let port;
let chain;

before(async () => {
  authority = new Authority();
  const files = authority.issue("server", "IP:127.0.0.1", "DNS:server.test");
  chain = files.chain;
  const other = authority.issue("other", "DNS:other.test");
  const listener = net.createServer().listen(0, "127.0.0.1");
  await once(listener, "listening");
  port = listener.address().port;
  listener.close();
  await once(listener, "close");
  const config = path.join(authority.folder, "campanile.toml");
  const certificate = (pair) => `[[tls.certificate]]\ncertificate = "${pair.chain}"\nkey = "${pair.key}"\n`;
  writeFileSync(config, `[auth]\nmode = "trust"\n[tls]\nlisten = ["127.0.0.1:${port}"]\n${certificate(files)}${certificate(other)}`);
  server = await Server.start({}, "--config", config);
});

after(async () => {
  await server?.stop();
  authority?.remove();
});

/** An open WebSocket, and everything it hears, parsed. */
async function open(user, options = {}) {
  const url = `wss://127.0.0.1:${port}/ws?user_id=${user}`;
  const socket = new WebSocket(url, { ca: authority.certificate, ...options });
  socket.heard = [];
  socket.on("message", (text) => socket.heard.push(JSON.parse(text)));
  await once(socket, "open");
  return socket;
}

/** The next frame of this type, those that have come included. */
async function until(socket, type) {
  for (;;) {
    const at = socket.heard.findIndex((frame) => frame.type === type);
    if (at >= 0) return socket.heard.splice(at, 1)[0];
    await once(socket, "message", { signal: AbortSignal.timeout(10_000) });
  }
}

describe("ws in Node", () => {
  for (const version of ["TLSv1.2", "TLSv1.3"]) {
    test(`chats over ${version}`, async () => {
      const options = { minVersion: version, maxVersion: version };
      const [ann, bob] = [await open("ann", options), await open("bob", options)];
      assert.equal(ann._socket.getProtocol(), version);
      assert.equal(ann._socket.authorized, true);
      for (const size of [1, 1_000, 30_000]) {
        ann.send(JSON.stringify({ type: "chat", content: "x".repeat(size) }));
        assert.equal((await until(bob, "chat")).content.length, size);
      }
      for (const socket of [ann, bob]) {
        socket.close(4242);
        const [code] = await once(socket, "close");
        assert.equal(code, 4242, "the server's answer to it");
      }
    });
  }

  test("gets the certificate of the name it asks for", async () => {
    const socket = await open("ann", { servername: "other.test" });
    assert.equal(socket._socket.getPeerCertificate().subject.CN, "other");
    socket.terminate();
  });

  test("refuses a name that the certificate is not for, and who is not trusted", async () => {
    await assert.rejects(open("ann", { servername: "nobody.test" }), { code: "ERR_TLS_CERT_ALTNAME_INVALID" });
    await assert.rejects(open("ann", { ca: [] }), /unable to (get|verify)|self.signed/);
  });

  test("is refused in the clear with a reason", async () => {
    const socket = new WebSocket(`ws://127.0.0.1:${port}/ws`);
    const [error] = await once(socket, "error");
    assert.match(error.message, /400/);
  });
});

test("https with keep-alive, one connection for all", async () => {
  const agent = new https.Agent({ keepAlive: true, maxSockets: 1, ca: authority.certificate });
  const ports = new Set();
  for (let number = 0; number < 5; number += 1) {
    const request = https.get(`https://127.0.0.1:${port}/openapi.json`, { agent });
    const [response] = await once(request, "response");
    let text = "";
    for await (const part of response) text += part;
    assert.equal(response.statusCode, 200);
    assert.ok(JSON.parse(text).openapi);
    ports.add(request.socket.localPort);
  }
  assert.equal(ports.size, 1);
  agent.destroy();
});

describe("Chromium", () => {
  test("chats on the page over wss, both ways", async () => {
    const browser = await launchChromium(`--ignore-certificate-errors-spki-list=${authority.spki(chain)}`);
    const tabs = [];
    try {
      for (const user of ["ann", "bob"]) {
        // A page that is handed over by a test is not taken to be a local one, as it is from the server.
        const permissions = ["local-network-access"];
        const context = await browser.newContext({ reducedMotion: "reduce", permissions });
        const tab = new Tab(await context.newPage());
        tabs.push(tab);
        tab.sockets = [];
        tab.page.on("websocket", (socket) => tab.sockets.push(socket.url()));
        await tab.page.route((url) => /^\/([a-z-]+\.(js|css))?$/.test(url.pathname), (route) => {
          const name = new URL(route.request().url()).pathname.slice(1) || "index.html";
          return route.fulfill({ path: path.join(ROOT, "web/chat", name) });
        });
        await tab.page.goto(`https://127.0.0.1:${port}/?user=${user}#tls`);
        await tab.connected();
      }
      const [ann, bob] = tabs;
      await ann.say("Is this line private?");
      await bob.bubble("Is this line private?");
      await bob.say("It is.");
      await ann.bubble("It is.");
      for (const tab of tabs) {
        assert.ok(tab.sockets.length > 0);
        for (const url of tab.sockets) assert.ok(url.startsWith(`wss://127.0.0.1:${port}/`), url);
        assert.equal(await tab.page.evaluate(() => window.isSecureContext), true);
        assert.deepEqual(tab.complaints, []);
      }
    } finally {
      await browser.close();
    }
  });

  test("reads the API by https, and sees TLS 1.3", async () => {
    const browser = await launchChromium(`--ignore-certificate-errors-spki-list=${authority.spki(chain)}`);
    try {
      const page = await browser.newPage();
      const response = await page.goto(`https://127.0.0.1:${port}/healthz`);
      assert.equal(response.status(), 200);
      assert.equal((await response.securityDetails()).protocol, "TLS 1.3");
    } finally {
      await browser.close();
    }
  });

  test("trusts nobody by itself", async () => {
    const browser = await launchChromium();
    try {
      const page = await browser.newPage();
      await assert.rejects(page.goto(`https://127.0.0.1:${port}/healthz`), /ERR_CERT_AUTHORITY_INVALID/);
    } finally {
      await browser.close();
    }
  });
});
