// Rooms, history, receipts and recovery on the chat page of the built binary, in Chromium. Guests of the
// server as it starts without configuration, who are somebody else with each connection, unless a
// test says otherwise.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { seed, Wire } from "./chat-support.mjs";
import { launchChromium, Server, Tab, withTabs } from "./support.mjs";

let browser;
let server;

before(async () => {
  browser = await launchChromium();
  server = await Server.start();
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

const at = (room = "") => `${server.url}#${room}`;
const texts = (tab) => tab.page.locator(".bubble").allTextContents();
const status = (tab) => tab.page.locator(".status:not(.for-readers)").last();
const inList = (tab, name) => tab.page.locator(".rooms").getByRole("link", { name });
const badge = (tab, name) => inList(tab, name).locator(".badge");
const title = (tab, name) => tab.until(tab.page.locator("#room-name"), name);

async function called(tab, name) {
  await tab.page.locator("#me-button").click();
  await tab.page.getByRole("dialog").getByLabel("Name").fill(name);
  await tab.page.keyboard.press("Enter");
  await tab.until(tab.page.locator("#me"), name);
}

async function create(tab, name, { isPrivate = false, capacity = "" } = {}) {
  await tab.page.getByRole("button", { name: "New room" }).click();
  const form = tab.page.getByRole("dialog");
  await form.getByLabel("Name").fill(name);
  await form.getByLabel("Most people at once").fill(capacity);
  await form.getByLabel("Private").setChecked(isPrivate);
  await form.getByRole("button", { name: "Create" }).click();
  await title(tab, name);
}

/** Makes the page believe that its window is hidden, or shown again. */
function setHidden(tab, isHidden) {
  return tab.page.evaluate((hidden) => {
    Object.defineProperty(document, "hidden", { get: () => hidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  }, isHidden);
}

describe("rooms", () => {
  test("two guests with names make a room, meet in it, and see what is new elsewhere", () =>
    withTabs(browser, [at(), at()], async (ann, bob) => {
      await called(ann, "Ann");
      await called(bob, "Bob");
      await ann.until(ann.members, "Bob");
      await create(ann, "Tea kitchen");
      await bob.say("where are you?");
      await ann.until(badge(ann, "lobby"), "1");
      assert.match(await ann.page.title(), /^\(1\) Tea kitchen/);

      assert.match(ann.page.url(), /#tea-kitchen$/);
      await bob.page.goto(ann.page.url());
      await title(bob, "Tea kitchen");
      await ann.notice("Bob joined");
      await bob.say("found you");
      const bubble = await ann.bubble("found you");
      assert.equal(await bubble.locator("xpath=..").locator(".author").textContent(), "Bob");

      await inList(ann, "lobby").click();
      await ann.bubble("where are you?");
      assert.equal(await badge(ann, "lobby").count(), 0, "what is seen is not new");
      assert.equal((await texts(ann)).length, 1, "each room has its own messages");
      await ann.page.goBack();
      await title(ann, "Tea kitchen");
      await ann.bubble("found you");

      await bob.page.getByRole("button", { name: "Leave Tea kitchen" }).click();
      await title(bob, "lobby");
      await ann.notice("Bob left");
      await bob.until(bob.page.locator("#other-list"), "Tea kitchen");
      assert.deepEqual([...ann.complaints, ...bob.complaints], []);
    }));

  test("a full one, a private one, being let in, being sent away, and the end of a room", () =>
    withTabs(browser, [at(), at()], async (ann, bob) => {
      await called(bob, "Bob");
      await create(ann, "Snug", { capacity: "1" });
      await bob.page.goto(at("snug"));
      await bob.notice("This room is full.");

      await create(ann, "Vault", { isPrivate: true });
      await bob.page.goto(at("vault"));
      await bob.notice("This room is private");
      await ann.page.getByLabel("Let somebody in").selectOption({ label: "Bob" });
      await ann.page.getByRole("button", { name: "Let in" }).click();
      await bob.page.getByRole("button", { name: "Try to join again" }).click();
      await bob.say("thank you");
      await ann.bubble("thank you");

      await ann.page.getByRole("button", { name: "Remove Bob" }).click();
      await bob.notice("You have been removed from this room.");
      await ann.notice("Bob left");
      ann.page.on("dialog", (dialog) => dialog.accept());
      await ann.page.getByRole("button", { name: "Close room" }).click();
      await ann.notice("This room was closed.");
      assert.deepEqual([...ann.complaints, ...bob.complaints], []);
    }));

  test("made, changed and left with the keyboard alone", () =>
    withTabs(browser, [at()], async (tab) => {
      const { page } = tab;
      const keys = page.keyboard;
      await page.getByRole("button", { name: "New room" }).focus();
      await keys.press("Enter");
      await keys.type("By keys");
      await keys.press("Enter");
      await title(tab, "By keys");
      const focus = () => page.evaluate(() => document.activeElement.id || document.activeElement.ariaLabel);
      assert.equal(await focus(), "draft", "one can write at once");
      await inList(tab, "lobby").focus();
      await keys.press("Enter");
      await title(tab, "lobby");
      await page.getByRole("button", { name: "Leave By keys" }).focus();
      await keys.press("Space");
      await page.locator("#room-list a", { hasText: "By keys" }).waitFor({ state: "detached" });
      assert.equal(await focus(), "draft");
      await page.getByRole("button", { name: "New room" }).focus();
      await keys.press("Enter");
      await keys.press("Escape");
      assert.equal(await page.evaluate(() => document.activeElement.id), "new-room", "the focus goes back");
    }));

  test("hostile names of people and rooms are text", () =>
    withTabs(browser, [at(), at()], async (ann, eve) => {
      const name = "<img src=x onerror=alert(1)>\u202E";
      await called(eve, name);
      await ann.until(ann.members, "<img src=x");
      await eve.draft.pressSequentially("x");
      await ann.until(ann.typing, "<img src=x");
      await create(eve, "<script>alert(2)</script>");
      await ann.until(ann.page.locator("#other-list"), "<script>alert(2)");
      await ann.page.goto(eve.page.url());
      await eve.say("<b>hi</b>");
      await ann.bubble("<b>hi</b>");
      assert.equal(await ann.page.locator("img, body script, b, .author b").count(), 0);
      assert.ok(await ann.page.locator(".author").evaluate((node) => node.tagName === "BDI"));
      assert.deepEqual([...ann.complaints, ...eve.complaints], []);
    }));
});

describe("messages", () => {
  test("from before come on load, and older ones when one scrolls up, without moving what is read", () =>
    withTabs(browser, [at("past")], async (ann) => {
      await ann.page.evaluate(seed, { room: "past", count: 69 });
      await ann.say("line 69");
      await ann.until(status(ann), "Sent");
      await ann.page.reload();
      await ann.bubble("line 69");
      assert.equal((await texts(ann)).length, 50);
      const own = ann.page.locator(".mine .bubble");
      assert.equal(await own.textContent(), "line 69", "one's own is known after a reload");
      await ann.until(ann.page.locator(".day"), "Today");
      const first = ann.page.locator(".bubble", { hasText: /^line 20$/ });
      const top = () => first.evaluate((node) => node.getBoundingClientRect().top);
      const before = await ann.log.evaluate((log) => {
        log.scrollTop = 60;
        return log.querySelector(".bubble").getBoundingClientRect().top;
      });
      await ann.page.locator(".bubble", { hasText: /^line 0$/ }).waitFor({ state: "attached" });
      assert.ok(Math.abs((await top()) - before) < 60, `${before} became ${await top()}`);
      assert.deepEqual(await texts(ann), Array.from({ length: 70 }, (_, line) => `line ${line}`));
      assert.equal(await ann.page.getByRole("button", { name: "Load older messages" }).count(), 0);
    }));

  test("are sent, delivered, and read when the reader's window is visible", () =>
    withTabs(browser, [at("marks"), at("marks")], async (ann, bob) => {
      await called(bob, "Bob");
      await setHidden(bob, true);
      await ann.say("are you there?");
      await ann.until(status(ann), "Delivered");
      await bob.bubble("are you there?");
      assert.match(await bob.page.title(), /^\(1\)/);
      assert.doesNotMatch(await status(ann).textContent(), /Read/, "nobody has looked");
      await setHidden(bob, false);
      await ann.until(status(ann), "Read by Bob");
      assert.match(await bob.page.title(), /^marks/);
    }));

  test("missed while the connection was lost come once, and own ones go out once", async () => {
    const wire = await Wire.open(browser, at("lost"));
    const ann = wire.tab;
    try {
      await withTabs(browser, [at("lost")], async (bob) => {
        await bob.say("before");
        await ann.bubble("before");
        // Taken by the server, but the answer never comes; the next connection is another guest's.
        wire.isDeaf = true;
        await ann.say("was this heard?");
        await bob.bubble("was this heard?");
        await wire.cut();
        await ann.until(ann.state, "Reconnecting");
        await ann.say("written without a connection");
        await ann.until(status(ann), "Waiting for the connection");
        await bob.say("said meanwhile");
        await bob.until(status(bob), /Sent|Delivered/);
        await ann.page.getByRole("button", { name: "Reconnect now" }).click();
        await ann.connected();
        await bob.bubble("written without a connection");
        await ann.bubble("said meanwhile");
        await bob.say("after");
        await ann.bubble("after");
        const answers = wire.received.filter(({ type, data }) => type === "subscribed" && data.topic === "lost");
        assert.equal(answers.length, 2);
        assert.equal(answers[1].data.recovered, true);
        assert.equal(answers[1].data.replayed, 2, "what was heard, and what was said meanwhile");
        for (const tab of [ann, bob]) {
          assert.deepEqual((await texts(tab)).sort(), [
            "after", "before", "said meanwhile", "was this heard?", "written without a connection",
          ]);
        }
        const chats = wire.sent.filter(({ type }) => type === "chat");
        assert.equal(chats.length, 2, "what had arrived was not sent again");
      });
    } finally {
      await ann.close();
    }
  });

  test("survive a restart of the server that forgets everything: shown once, sent once", () =>
    withTabs(browser, [at(), at()], async (ann, bob) => {
      await ann.say("before the restart");
      await bob.bubble("before the restart");
      await server.kill();
      await ann.until(ann.state, "Reconnecting");
      await ann.page.getByRole("button", { name: "Reconnect now" }).waitFor();
      await ann.say("during the restart");
      await server.start();
      await Promise.all([ann.connected(), bob.connected()]);
      await bob.bubble("during the restart");
      await ann.notice("Some messages may be missing here.");
      await bob.say("after the restart");
      await ann.bubble("after the restart");
      for (const tab of [ann, bob]) {
        const wanted = ["before the restart", "during the restart", "after the restart"];
        assert.deepEqual((await texts(tab)).slice(-3), wanted);
        // The attempts made while nobody listened are the only thing the browser may report.
        const others = tab.complaints.filter((text) => !/^WebSocket connection to .* failed/.test(text));
        assert.deepEqual(others, []);
      }
    }));

  test("that the server refuses say why, and go out again under the same identifier", async () => {
    const wire = await Wire.open(browser, at("refused"));
    const { tab } = wire;
    try {
      const sent = [];
      await tab.page.routeWebSocket("**/v1/connect*", (socket) => {
        const reply = (type, id, data) => socket.send(JSON.stringify({ type, id, data }));
        reply("connection-status", undefined, { status: "established", user_id: "ann" });
        socket.onMessage((text) => {
          const { type, id, data } = JSON.parse(text);
          if (type === "subscribe") reply("subscribed", id, { topic: data.topic, members: 1 });
          if (type !== "chat") return;
          sent.push(data);
          const error = { code: "rate_limited", error: "too many messages", retry_after_ms: 2100 };
          if (sent.length === 1) return reply("error", id, error);
          reply("message-status", id, { message_id: "m1", status: "sent", timestamp: "2026-11-21T02:12:29.123Z" });
        });
      });
      await tab.page.reload();
      await tab.connected();
      await tab.say("hurry");
      await tab.until(status(tab), "Not sent. That was too much at once. Try again in 3 s.");
      await tab.page.getByRole("button", { name: "Send again" }).press("Enter");
      await tab.until(status(tab), "Sent");
      assert.equal(sent.length, 2);
      assert.deepEqual(sent[0], sent[1]);
      assert.equal((await texts(tab)).length, 1);
      assert.equal(await tab.page.evaluate(() => document.activeElement.id), "draft");
    } finally {
      await tab.close();
    }
  });

  test("are loaded anew after a gap", async () => {
    const wire = await Wire.open(browser, at("gap"));
    try {
      await withTabs(browser, [at("gap")], async (bob) => {
        await bob.say("one");
        await wire.tab.bubble("one");
        wire.isDeaf = true;
        await bob.say("two");
        await wire.misses("chat");
        wire.isDeaf = false;
        wire.inject({ type: "system", room_id: "gap", data: { event: "gap", message: "too slow" } });
        await wire.tab.bubble("two");
        assert.deepEqual(await texts(wire.tab), ["one", "two"]);
      });
    } finally {
      await wire.tab.close();
    }
  });
});

describe("the page with rooms", () => {
  test("fits a phone in the dark, also for an owner", async () => {
    const phone = { viewport: { width: 360, height: 640 }, colorScheme: "dark" };
    const ann = await Tab.open(browser, at(), phone);
    try {
      await ann.page.getByRole("button", { name: "Rooms" }).click();
      await create(ann, "A room with a name that is much too long for a phone");
      await ann.page.locator("#rooms").waitFor({ state: "hidden" });
      await ann.say("wide".repeat(60));
      await ann.bubble("wide");
      await ann.page.getByRole("button", { name: "Members" }).click();
      await ann.page.getByRole("button", { name: "Close room" }).waitFor();
      const overflow = await ann.page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
      assert.ok(!overflow, "nothing sticks out sideways");
    } finally {
      await ann.close();
    }
  });

  test("is served with headers that keep it to itself, and only once", async () => {
    const page = await fetch(server.url);
    assert.match(page.headers.get("content-security-policy"), /default-src 'none'.*frame-ancestors 'none'/);
    assert.equal(page.headers.get("x-content-type-options"), "nosniff");
    const known = { headers: { "if-none-match": page.headers.get("etag") } };
    assert.equal((await fetch(server.url, known)).status, 304);
    const module = await fetch(`${server.url}room.js`);
    assert.equal(module.headers.get("content-type"), "text/javascript; charset=utf-8");
  });
});
