// The dashboard of the built binary in Chromium, with clients on the same server. Only a server of sixteen
// shards with a million users, and one that falls silent, are played by the test.
//
//   CAMPANILE_BIN          the binary; target/debug/campanile
//   CHROMIUM_BIN           Chromium; /usr/bin/chromium
//
// Pictures of the page are left in the target directory, tmp/dashboard-*.png, for a person to look at.

import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { Crowd, Operated } from "./dashboard-support.mjs";
import { launchChromium, ROOT } from "./support.mjs";

const PICTURES = path.join(process.env.CARGO_TARGET_DIR ?? path.join(ROOT, "target"), "tmp");
const TOKEN = 'a token/with=any "characters"';

let browser;
let server;
let crowd;

before(async () => {
  browser = await launchChromium();
  server = await Operated.start();
  crowd = new Crowd(server);
});

after(async () => {
  await browser?.close();
  await crowd?.leave();
  await server?.stop();
});

/** The page of a server, with all that it asked for and complained about. */
class Board {
  complaints = [];
  requests = [];

  static async open({ of = server, wait = true, ...options } = {}) {
    const board = new Board();
    const context = await browser.newContext({ reducedMotion: "reduce", ...options });
    board.page = await context.newPage();
    board.page.setDefaultTimeout(20_000);
    board.page.on("pageerror", (error) => board.complaints.push(`exception: ${error.stack}`));
    board.page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) board.complaints.push(message.text());
    });
    board.page.on("request", (request) => board.requests.push(request));
    board.page.on("websocket", (socket) => board.requests.push({ url: () => socket.url() }));
    await board.page.goto(of.page);
    if (wait) await board.is("live");
    return board;
  }

  /** What it has asked of the API: `{ method, path, body, headers }`. */
  get asked() {
    const asked = this.requests.filter((request) => request.url().includes("/api/v1/"));
    return asked.map((request) => ({
      method: request.method(),
      path: new URL(request.url()).pathname.split("/api/v1/")[1],
      body: request.postDataJSON(),
      headers: request.headers(),
    }));
  }

  /** Waits until the page says that this is the state of its connection. */
  is(state) {
    return this.page.locator(`#state[data-state="${state}"]`).waitFor({ timeout: 40_000 });
  }

  tile(title) {
    return this.page.locator(".tile", { has: this.page.getByText(title, { exact: true }) }).locator(".value");
  }

  async number(title) {
    return Number.parseFloat((await this.tile(title).textContent()).replaceAll(",", ""));
  }

  /** Waits until a tile shows what is wanted. */
  async until(title, isWanted) {
    let number;
    for (let tries = 0; tries < 200; tries += 1) {
      number = await this.number(title);
      if (isWanted(number)) return;
      await sleep(50);
    }
    assert.fail(`${title}: ${number}`);
  }

  async find(prefix, name) {
    await this.page.locator("#search").fill(prefix);
    await this.page.locator("#results button", { has: this.page.getByText(name, { exact: true }) }).click();
    await this.page.locator("#details[open] h3").first().waitFor();
  }

  async picture(name) {
    await mkdir(PICTURES, { recursive: true });
    await this.page.screenshot({ path: path.join(PICTURES, `dashboard-${name}.png`) });
  }

  close() {
    return this.page.context().close();
  }
}

async function withBoard(options, run) {
  const board = await Board.open(options);
  try {
    await run(board);
  } finally {
    await crowd.leave();
    await board.close();
  }
}

/** How many pixels of a plot's canvas have a colour: its lines, and neither grid nor text. */
const inked = (plot) =>
  plot.locator("canvas").evaluate((canvas) => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    let count = 0;
    for (let at = 0; at < data.length; at += 4) {
      const [red, green, blue, alpha] = data.subarray(at, at + 4);
      count += alpha > 200 && Math.max(red, green, blue) - Math.min(red, green, blue) > 60;
    }
    return count;
  });

describe("what the server does", () => {
  test("is shown as it happens: connections, users, rooms and messages", () =>
    withBoard({}, async (board) => {
      assert.equal(await board.number("Connections"), 0);
      for (let number = 0; number < 20; number += 1) await crowd.enter(`user-${number % 10}`, `room-${number % 4}`);
      await board.until("Connections", (value) => value === 20);
      await board.until("Users", (value) => value === 10);
      await board.until("Rooms", (value) => value === 4);
      crowd.talk(10);
      await board.until("Received", (value) => value > 100);
      await board.until("Sent", (value) => value > 100);
      await board.until("Memory", (value) => value > 0);
      const shards = board.page.getByRole("region", { name: "Shards" }).locator("tbody tr");
      assert.equal(await shards.count(), 2);
      assert.deepEqual(await shards.locator(".tag").allTextContents(), ["in time", "in time"]);
      assert.deepEqual(board.complaints, []);
    }));

  test("moves the plots, whose legends and tables say the same", () =>
    withBoard({}, async (board) => {
      const plot = board.page.locator(".plot", { has: board.page.getByRole("heading", { name: /^Messages/ }) });
      for (let number = 0; number < 8; number += 1) await crowd.enter(`user-${number}`, "kitchen");
      crowd.talk(5);
      await board.until("Received", (value) => value > 10);
      const before = await inked(plot);
      await plot.locator("summary").click();
      const received = plot.getByRole("row", { name: /^Received/ });
      await received.waitFor();
      await board.page.waitForFunction(
        (row) => Number(row.cells[4].textContent.replaceAll(",", "")) > 10,
        await received.elementHandle(),
      );
      for (let tries = 0; (await inked(plot)) <= before; tries += 1) {
        assert.ok(tries < 100, "the lines grow");
        await sleep(100);
      }
      const label = await plot.locator(".canvas").getAttribute("aria-label");
      assert.match(label, /^Messages over time\. Now: Sent [\d,.]+, Received [\d,.]+, Published [\d,.]+$/);
    }));

  test("stands still while it is paused, and each shard can be looked at", () =>
    withBoard({}, async (board) => {
      const plot = board.page.locator(".plot", { hasText: "By shard" });
      await plot.getByRole("combobox").selectOption("connections");
      const amount = plot.locator(".legend .amount");
      // The first snapshot may be from before, when other clients were there.
      await board.until("Connections", (value) => value === 0);
      const sum = async () => (await amount.allTextContents()).reduce((sum, text) => sum + Number(text), 0);
      await board.page.getByRole("button", { name: "Pause" }).click();
      for (let number = 0; number < 5; number += 1) await crowd.enter(`user-${number}`);
      await board.until("Connections", (value) => value === 5);
      assert.equal(await sum(), 0);
      await board.page.getByRole("button", { name: "Pause" }).click();
      assert.equal(await sum(), 5);
    }));

  test("is told to a second page, too", () =>
    withBoard({}, async (board) => {
      const other = await Board.open();
      await crowd.enter("ann");
      await Promise.all([board, other].map((page) => page.until("Connections", (value) => value === 1)));
      await other.close();
    }));

  test("is refused messages as well", () =>
    withBoard({}, async (board) => {
      const card = board.page.getByRole("region", { name: "Refusals and limits" }).first();
      const { socket } = await crowd.enter("ann");
      for (let number = 0; number < 3; number += 1) socket.send('{"type":"nobody-knows-this"}');
      await card.getByRole("row", { name: /^Messages refused/ }).waitFor();
    }));
});

describe("whoever looks after the server", () => {
  test("finds a user among users and rooms, and sees its connections", () =>
    withBoard({}, async (board) => {
      for (const user of ["ann", "ann", "anna", "bob"]) await crowd.enter(user, "annex");
      await board.page.locator("#search").fill("ann");
      await board.page.getByText("3 found.").waitFor();
      const found = await board.page.locator("#results bdi").allTextContents();
      assert.deepEqual(found, ["ann", "anna", "annex"]);
      await board.find("ann", "ann");
      await board.page.locator("#details").getByRole("heading", { name: "2 connections" }).waitFor();
      await board.page.locator("#details").getByRole("button", { name: "annex" }).first().click();
      await board.page.locator("#details").getByRole("heading", { name: "3 members" }).waitFor();
      await board.page.keyboard.press("Escape");
      await board.page.locator("#search").fill("zeno");
      await board.page.getByText("Nobody and no room is called that.").waitFor();
    }));

  test("disconnects a user after a question that names it", () =>
    withBoard({}, async (board) => {
      for (const user of ["ann", "ann", "bob"]) await crowd.enter(user, "kitchen");
      await board.until("Connections", (value) => value === 3);
      await board.find("an", "ann");
      const ask = () => board.page.getByRole("button", { name: "Disconnect user…" }).click();
      await ask();
      const question = board.page.getByRole("alertdialog", { name: "Disconnect ann?" });
      await question.getByText("Its 2 connections are closed").waitFor();
      await question.getByRole("button", { name: "Cancel" }).click();
      assert.ok(board.asked.every(({ method }) => method === "GET"), "nothing is done unasked");
      await ask();
      await question.getByRole("button", { name: "Disconnect" }).click();
      await board.page.getByText("ann was disconnected (2 connections).").waitFor();
      await board.until("Connections", (value) => value === 1);
      const { body } = board.asked.find(({ path }) => path === "users/ann/disconnect");
      assert.deepEqual(body, { reason: "disconnected by an administrator" });
    }));

  test("closes one connection, and the others stay", () =>
    withBoard({}, async (board) => {
      for (const user of ["ann", "ann"]) await crowd.enter(user);
      await board.find("ann", "ann");
      await board.page.getByRole("button", { name: /^Close connection [^ ]/ }).first().click();
      await board.page.getByRole("button", { name: "Close connection", exact: true }).click();
      await board.page.locator("#details").getByRole("heading", { name: "1 connection" }).waitFor();
      await board.until("Connections", (value) => value === 1);
    }));

  test("closes a room and is told how many are sent out", () =>
    withBoard({}, async (board) => {
      for (const user of ["ann", "bob"]) await crowd.enter(user, "kitchen");
      await board.find("kit", "kitchen");
      const members = board.page.locator("#details tbody th");
      assert.deepEqual((await members.allTextContents()).sort(), ["ann", "bob"]);
      await board.page.getByRole("button", { name: "Close room…" }).click();
      const question = board.page.getByRole("alertdialog", { name: "Close room kitchen?" });
      await question.getByText("2 members are told and sent out").waitFor();
      await question.getByRole("button", { name: "Close room" }).click();
      await board.page.getByText("Room kitchen was closed.").waitFor();
      assert.ok(board.asked.some(({ method, path }) => method === "DELETE" && path === "rooms/kitchen"));
      await board.page.getByText("Nobody and no room is called that.").waitFor();
    }));

  test("announces something to everybody, and something else to one", () =>
    withBoard({}, async (board) => {
      const [ann, bob] = [await crowd.enter("ann"), await crowd.enter("bob")];
      await board.until("Connections", (value) => value === 2);
      await board.page.getByLabel("To everybody who is connected").fill("<b>Tea</b> in five minutes");
      await board.page.getByRole("button", { name: "Announce…" }).click();
      const question = board.page.getByRole("alertdialog");
      await question.getByText("“<b>Tea</b> in five minutes”").waitFor();
      await question.getByText("It reaches 2 connections of 2 users").waitFor();
      await question.getByRole("button", { name: "Announce" }).click();
      await board.page.getByText("The announcement is out to 2 connections.").waitFor();
      for (const client of [ann, bob]) await client.hears("announcement", "<b>Tea</b> in five minutes");
      await board.page.waitForFunction(() => document.querySelector("#announcement").value === "");
      await board.find("bob", "bob");
      await board.page.getByLabel("Announcement to this user alone").fill("yours is cold");
      await board.page.keyboard.press("Enter");
      await board.page.getByText("Sent to 1 connection.").waitFor();
      await bob.hears("announcement", "yours is cold");
      assert.equal(ann.heard.filter(({ type }) => type === "announcement").length, 1);
    }));

  test("is told what the API refuses, and the question stays", () =>
    withBoard({}, async (board) => {
      await crowd.enter("ann", "kitchen");
      await board.find("kit", "kitchen");
      assert.equal((await server.ask("DELETE", "/api/v1/rooms/kitchen")).status, 200);
      await board.page.getByRole("button", { name: "Close room…" }).click();
      await board.page.getByRole("alertdialog").getByRole("button", { name: "Close room" }).click();
      await board.page.getByRole("alertdialog").getByText(/^Not there: /).waitFor();
      await board.page.keyboard.press("Escape");
      await board.page.getByRole("alertdialog").waitFor({ state: "hidden" });
    }));
});

describe("with the keyboard alone", () => {
  test("all can be done, and one sees where one is", () =>
    withBoard({}, async (board) => {
      const { keyboard } = board.page;
      const focused = () =>
        board.page.evaluate(() => {
          const { id, textContent, tagName } = document.activeElement;
          const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement);
          return { id, text: textContent.trim(), tagName, isSeen: outlineStyle !== "none" && outlineWidth !== "0px" };
        });
      for (const user of ["ann", "bob"]) await crowd.enter(user, "kitchen");
      await keyboard.press("Tab");
      assert.deepEqual(await focused(), { id: "", text: "Skip to the numbers", tagName: "A", isSeen: true });
      await keyboard.press("Tab");
      assert.equal((await focused()).id, "theme");
      await keyboard.press("/");
      assert.deepEqual(await focused(), { id: "search", text: "", tagName: "INPUT", isSeen: true });
      await keyboard.type("kit/");
      assert.equal(await board.page.locator("#search").inputValue(), "kit/", "a slash is a slash where one writes");
      await keyboard.press("Escape");
      assert.equal(await board.page.locator("#search").inputValue(), "");
      await keyboard.type("bob");
      await board.page.getByText("1 found.").waitFor();
      await keyboard.press("ArrowDown");
      assert.match((await focused()).text, /^bob/);
      await keyboard.press("Enter");
      await board.page.locator("#details[open] h3").waitFor();
      for (let tabs = 0; (await focused()).text !== "Disconnect user…"; tabs += 1) {
        assert.ok(tabs < 20, "the button is reached");
        await keyboard.press("Tab");
        assert.ok((await focused()).isSeen, JSON.stringify(await focused()));
      }
      await keyboard.press("Enter");
      await board.page.getByRole("alertdialog").waitFor();
      assert.equal((await focused()).text, "Cancel", "the careful answer comes first");
      await keyboard.press("Escape");
      assert.equal((await focused()).text, "Disconnect user…", "the focus goes back");
      await keyboard.press("Enter");
      await keyboard.press("Tab");
      await keyboard.press("Enter");
      await board.until("Connections", (value) => value === 1);
      await keyboard.press("Escape");
    }));

  test("every control has a name", () =>
    withBoard({}, async (board) => {
      const nameless = await board.page.evaluate(() =>
        [...document.querySelectorAll("button, input, textarea, select, a")]
          .filter((node) => node.checkVisibility())
          .filter((node) => !node.textContent.trim() && !node.ariaLabel && !(node.labels?.length > 0))
          .map((node) => node.outerHTML),
      );
      assert.deepEqual(nameless, []);
    }));
});

describe("the token", () => {
  let locked;
  before(async () => (locked = await Operated.start(TOKEN)));
  after(() => locked?.stop());

  test("is asked for, kept in this tab, sent as a header and never in an address", () =>
    withBoard({ of: locked, wait: false }, async (board) => {
      await board.is("locked");
      await board.picture("login");
      const field = board.page.getByLabel("Admin token");
      await field.fill("a guess");
      await board.page.keyboard.press("Enter");
      await board.page.getByText("That token is not the right one.").waitFor();
      assert.equal(await board.page.locator("#board").isVisible(), false);
      assert.equal(await board.page.evaluate(() => sessionStorage.length), 0, "a wrong one is not kept");
      await field.fill(TOKEN);
      await board.page.keyboard.press("Enter");
      await board.is("live");
      await board.page.reload();
      await board.is("live");
      await board.page.locator("#search").fill("x");
      await board.page.getByText("Nobody and no room").waitFor();
      assert.equal(board.asked[0].headers.authorization, `Bearer ${TOKEN}`);
      const marks = [TOKEN, encodeURIComponent(TOKEN), "token/with"];
      const told = board.requests.filter((request) => marks.some((mark) => request.url().includes(mark)));
      assert.deepEqual(told.map((request) => request.url()), []);
      assert.equal(await board.page.evaluate(() => localStorage.getItem("campanile-admin-token")), null);
      await board.page.getByRole("button", { name: "Sign out" }).click();
      await board.is("locked");
      assert.equal(await board.page.evaluate(() => sessionStorage.length), 0);
      await board.page.reload();
      await board.is("locked");
      assert.deepEqual(board.complaints, []);
    }));
});

describe("who may", () => {
  let locked;
  before(async () => (locked = await Operated.start(TOKEN)));
  after(() => locked?.stop());

  const UPGRADE = {
    Connection: "Upgrade",
    Upgrade: "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
  };
  const PLACES = [
    ["/admin/live", UPGRADE, 101],
    ["/api/v1/users", {}, 200],
    ["/metrics", {}, 200],
  ];

  test("the one token opens the numbers, the API and the metrics, and no other does", async () => {
    for (const [path, headers, welcome] of PLACES) {
      assert.equal((await locked.ask("GET", path, headers)).status, welcome, path);
      const wrong = { ...headers, Authorization: "Bearer a guess" };
      assert.equal((await locked.askAs(wrong, "GET", path)).status, 401, path);
    }
    assert.equal((await locked.askAs({}, "GET", "/api/v1/users")).status, 401);
    assert.equal((await locked.askAs({}, "GET", "/metrics")).status, 401);
    // A page cannot set the header: it says the token first, or hears nothing.
    assert.equal((await locked.askAs(UPGRADE, "GET", "/admin/live")).status, 101);
  });

  test("without a token a name that somebody else could have given to this machine is refused", async () => {
    for (const [path, headers, welcome] of PLACES) {
      const named = (host) => server.askAs({ ...headers, Host: host }, "GET", path);
      for (const host of [`localhost:${server.adminPort}`, `127.0.0.1:${server.adminPort}`]) {
        assert.equal((await named(host)).status, welcome, `${host}${path}`);
      }
      const { status } = await named(`rebound.example:${server.adminPort}`);
      assert.ok(status === 401 || status === 403, `${path}: ${status}`);
    }
  });

  test("the public listener knows neither dashboard nor metrics", async () => {
    for (const path of ["/admin/", "/admin/live", "/metrics"]) {
      const response = await fetch(new URL(path, server.url));
      assert.equal(response.status, 404, path);
    }
  });
});

describe("when the server is gone", () => {
  test("the page says so, shows old numbers as old, and comes back by itself", () =>
    withBoard({}, async (board) => {
      await server.stop();
      await board.is("lost");
      await board.page.getByText("The server does not answer.").waitFor();
      await board.picture("lost");
      assert.equal(await board.page.locator("#board").getAttribute("data-fresh"), "false");
      await server.start();
      await board.is("live");
      assert.equal(await board.page.locator("#banner").isVisible(), false);
      assert.equal(await board.page.locator("#board").getAttribute("data-fresh"), "true");
      // Another process counts from zero: that is no rate below nothing.
      assert.ok(!((await board.number("Received")) < 0));
      const exceptions = board.complaints.filter((line) => line.startsWith("exception"));
      assert.deepEqual(exceptions, []);
    }));
});

/** A snapshot of a large server, as it is after so many seconds. */
function largeSnapshot(second) {
  const shard = (number, scale = 1) => ({
    shard: number,
    state: { 3: "busy", 7: "late" }[number] ?? "ok",
    connections: 61_000 * scale + number * 10,
    users: 40_000 * scale,
    pending: 3,
    rooms: 1200 * scale,
    members: 52_000 * scale,
    history_messages: 9000 * scale,
    history_bytes: 4_500_000 * scale,
    counters: {
      messages_in: (9000 + number * 400) * second * scale,
      messages_out: 4000 * second * scale,
      fanned_out: (90_000 + 4000 * Math.sin(second / 3 + number)) * second * scale,
      published: 2000 * second * scale,
      bytes_in: 1_200_000 * second * scale,
      bytes_out: 22_000_000 * second * scale,
      opened: 61_000 * scale + 30 * second,
      closed: 12 * second,
      refused: 17 * scale,
      lagged: 3 * second,
      slow_turns: 2,
    },
    realtime: { refused: 420 + second, rate_limited: 400 + second, forbidden: 20, handler_errors: 2 },
  });
  const names = ["chat", "typing", "subscribe", "room.history", "custom_message", "presence"];
  return {
    type: "snapshot",
    time: new Date().toISOString(),
    time_ms: Date.now(),
    uptime_ms: 864_000_000 + second * 1000,
    version: "0.1.0",
    viewers: 1,
    shards: Array.from({ length: 16 }, (_, number) => shard(number)),
    totals: shard(0, 16),
    memory: {
      rss: 6_300_000_000,
      connections: 2_100_000_000,
      topic_logs: 1_400_000_000,
      receive_buffers: 536_870_912,
      queues: 310_000_000,
      history: 72_000_000,
      held: 9_000_000,
      barriers: 700_000,
      in_flight: 3_000_000,
      partial: 500_000,
      spare: 12_000_000,
      tls: 40_000_000,
    },
    handlers: names.map((name, place) => ({
      name,
      calls: 123_456 * (place + 1),
      p50_us: 3 + place,
      p99_us: 40 * 4 ** place,
      max_us: 900 * 3 ** place,
    })),
    store: {
      queued: 14, queued_bytes: 52_000, appended: 1_204_331, repeats: 12, commits: 90_412, failed: 3, busy: 0,
      pruned: 40_210, group_largest: 512, is_failing: second > 2,
    },
    broker: { kind: "none" },
    budget: { pressure: second > 2 ? "soft" : "none", used: 6.3e9, soft: 6e9, hard: 7.5e9, limit: 8e9 },
    refusals: { unauthorized: 210 + second, connection_limit: 40, forbidden: 12 },
    closings: { 1000: 4000, 1001: 220 + second, 1006: 12 * second, 4401: 3 },
    security: { refused: 222 + second, revoked: 0, forbidden: 12, limit: 40, expired: 3 },
  };
}

describe("a large server", () => {
  /** The page before a server that the test plays. */
  async function play(viewport, run) {
    const context = await browser.newContext({ reducedMotion: "reduce", viewport });
    const page = await context.newPage();
    const complaints = [];
    page.on("pageerror", (error) => complaints.push(error.stack));
    const sockets = [];
    await page.routeWebSocket("**/admin/live", (socket) => {
      sockets.push(socket);
      socket.send(JSON.stringify({ type: "hello", version: "0.1.0", authentication: "none", interval_ms: 200 }));
    });
    await page.goto(server.page);
    let second = 0;
    const tell = async () => {
      second += 1;
      sockets.at(-1).send(JSON.stringify(largeSnapshot(second)));
      await sleep(200);
    };
    try {
      await run(page, tell, sockets);
      assert.deepEqual(complaints, []);
    } finally {
      await context.close();
    }
  }

  for (const width of [360, 900, 1600]) {
    test(`has a place for all its numbers at ${width} px`, () =>
      play({ width, height: 1000 }, async (page, tell) => {
        for (let second = 0; second < 12; second += 1) await tell();
        const card = (name) => page.getByRole("region", { name, exact: true }).first();
        assert.equal(await card("Shards").locator("tbody tr").count(), 16);
        assert.deepEqual(await card("Shards").locator(".tag.wait, .tag.bad").allTextContents(), ["queue full", "late"]);
        assert.equal(await card("Slowest handlers").locator("tbody th").first().textContent(), "presence");
        assert.match(await card("Slowest handlers").locator("tbody tr").first().textContent(), /41 ms/);
        await card("Store and broker").getByText("failing").waitFor();
        for (const name of [/sent too fast/, /… unauthorized/, /Security: not let in/]) {
          await card("Refusals and limits").getByRole("row", { name }).waitFor();
        }
        await card("Ended connections").getByRole("row", { name: /^1006: broke off/ }).waitFor();
        await page.getByText("short: reading is held back").waitFor();
        const legend = page.locator(".plot", { hasText: "Memory" }).locator(".legend");
        const kinds = await legend.locator("li").allTextContents();
        assert.deepEqual(kinds.slice(0, 3), ["Resident, all5.9 GiB", "Barriers684 KiB", "Connections2 GiB"]);
        assert.deepEqual(kinds.slice(-2), ["TLS38.1 MiB", "Topic logs1.3 GiB"]);
        // The last kinds were below the edge of a box that does not look as if there were more in it.
        assert.ok(await legend.evaluate((box) => box.scrollHeight <= box.clientHeight + 1), "every kind is seen");
        assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= width);
        const picture = path.join(PICTURES, `dashboard-large-${width}.png`);
        await page.screenshot({ path: picture, fullPage: true });
      }));
  }

  test("that falls silent has its numbers called old, and live again when it speaks", () =>
    play({ width: 1200, height: 800 }, async (page, tell, sockets) => {
      const is = (state) => page.locator(`#state[data-state="${state}"]`).waitFor();
      await tell();
      await is("live");
      await is("stale");
      await page.getByText("No news of the server. These numbers are old.").waitFor();
      assert.equal(await page.locator("#board").getAttribute("data-fresh"), "false");
      await page.screenshot({ path: path.join(PICTURES, "dashboard-stale.png") });
      await tell();
      await is("live");
      // Silent for good: that is no connection.
      await is("lost");
      await page.getByRole("button", { name: "Try now" }).click();
      await tell();
      await is("live");
      assert.equal(sockets.length, 2);
      await sockets.at(-1).close({ code: 1013, reason: "too many viewers" });
      await page.getByText("Too many dashboards are open.").waitFor();
    }));
});

describe("the page", () => {
  const SIZES = { telephone: { width: 360, height: 780 }, desk: { width: 1600, height: 1000 } };

  for (const colorScheme of ["light", "dark"]) {
    for (const [size, viewport] of Object.entries(SIZES)) {
      test(`fits a ${size} in ${colorScheme} colours`, () =>
        withBoard({ colorScheme, viewport }, async (board) => {
          for (let number = 0; number < 12; number += 1) await crowd.enter(`user-${number % 9}`, `room-${number % 3}`);
          crowd.talk(4);
          await board.until("Received", (value) => value > 10);
          const width = await board.page.evaluate(() => document.documentElement.scrollWidth);
          assert.ok(width <= viewport.width, `${width} px wide`);
          await board.picture(`${size}-${colorScheme}`);
          await board.page.locator("#tables").scrollIntoViewIfNeeded();
          await board.picture(`${size}-${colorScheme}-tables`);
          await board.find("room", "room-1");
          await board.picture(`${size}-${colorScheme}-room`);
          await board.page.locator("#details tbody button").first().click();
          await board.page.getByRole("heading", { name: /^\d connections?$/ }).waitFor();
          await board.picture(`${size}-${colorScheme}-user`);
          await board.page.getByRole("button", { name: "Disconnect user…" }).click();
          await board.picture(`${size}-${colorScheme}-question`);
          await board.page.keyboard.press("Escape");
        }));
    }
  }

  test("takes the colours that one chooses, and keeps them", () =>
    withBoard({ colorScheme: "light" }, async (board) => {
      const ground = () => board.page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
      const light = await ground();
      const theme = board.page.locator("#theme");
      await theme.click();
      assert.equal(await ground(), light, "light");
      await theme.click();
      const dark = await ground();
      assert.notEqual(dark, light);
      await board.page.reload();
      await board.is("live");
      assert.equal(await ground(), dark);
    }));

  test("asks no other host for anything, and has no complaint", () =>
    withBoard({}, async (board) => {
      await crowd.enter("ann", "kitchen");
      await board.find("kit", "kitchen");
      const hosts = new Set(board.requests.map((request) => new URL(request.url()).host).filter(Boolean));
      assert.deepEqual([...hosts], [`127.0.0.1:${server.adminPort}`]);
      assert.deepEqual(board.complaints, []);
    }));
});
