// The chat page of the built binary, in Chromium, two people at a time. Rooms, history and recovery:
// chat-rooms.test.mjs.
//
//   CAMPANILE_BIN          the binary; target/debug/campanile
//   CHROMIUM_BIN           Chromium; /usr/bin/chromium
//   CAMPANILE_SCREENSHOT   if set, the README's picture is taken anew: docs/images/chat.png

import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { seed } from "./chat-support.mjs";
import { launchChromium, ROOT, Server, Tab, withTabs } from "./support.mjs";

let browser;
let server;

before(async () => {
  browser = await launchChromium();
  server = await Server.start({ CAMPANILE_AUTH__MODE: "trust" });
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

/** The page as a person, in the lobby or another room. */
const as = (user, room = "") => `${server.url}?user=${user}#${room}`;
let rooms = 0;
/** Ann and Bob in a room where nobody has been before. */
const annAndBob = (run) => {
  const room = `room-${(rooms += 1)}`;
  return withTabs(browser, [as("ann", room), as("bob", room)], run);
};

async function count(locator, expected) {
  for (let tries = 0; tries < 100 && (await locator.count()) !== expected; tries += 1) await sleep(50);
  assert.equal(await locator.count(), expected);
}

describe("two people in a room", () => {
  test("see each other, and no complaint on the console", () =>
    annAndBob(async (ann, bob) => {
      for (const tab of [ann, bob]) {
        await count(tab.members, 2);
        assert.deepEqual((await tab.page.locator("#member-list .name").allTextContents()).sort(), ["ann", "bob"]);
        await tab.until(tab.members, "you");
      }
      assert.equal(await ann.id(), "ann");
      await ann.notice("bob joined");
      assert.equal(await bob.page.locator(".notice").count(), 0, "nobody is told of having joined");
      assert.deepEqual([...ann.complaints, ...bob.complaints], []);
    }));

  test("chat both ways, each line once and with its author and a local time", () =>
    annAndBob(async (ann, bob) => {
      await ann.say("Is anybody there?");
      await bob.bubble("Is anybody there?");
      await bob.say("I am!");
      await ann.bubble("I am!");
      for (const tab of [ann, bob]) await count(tab.page.locator(".bubble"), 2);
      await count(ann.page.locator(".mine .bubble"), 1);
      assert.equal(await bob.page.locator(".message .author").textContent(), "ann");
      const stamp = await bob.page.locator("time").first().getAttribute("datetime");
      assert.ok(Math.abs(Date.now() - Date.parse(stamp)) < 60_000, stamp);
    }));

  test("see that the other one is typing, and when that ends", () =>
    annAndBob(async (ann, bob) => {
      await ann.draft.pressSequentially("Hel");
      await bob.until(bob.typing, "ann is typing");
      assert.equal(await ann.typing.textContent(), "", "nobody is told of typing");
      // Silence ends it: the page takes it back after 3 s, long before the 6 s of forgetting.
      const before = Date.now();
      await bob.page.waitForFunction(() => document.querySelector("#typing").textContent === "");
      assert.ok(Date.now() - before < 5000);

      await sleep(1100);
      await ann.draft.pressSequentially("lo");
      await bob.until(bob.typing, "ann is typing");
      await ann.draft.press("Enter");
      await bob.bubble("Hello");
      await bob.page.waitForFunction(() => document.querySelector("#typing").textContent === "");
    }));

  test("send typing at most once a second, however fast the keys", () =>
    annAndBob(async (ann) => {
      const sent = [];
      ann.page.on("websocket", (socket) => {
        socket.on("framesent", ({ payload }) => sent.push(JSON.parse(payload)));
      });
      await ann.page.reload();
      await ann.connected();
      const begun = Date.now();
      await ann.draft.pressSequentially("a".repeat(40), { delay: 50 });
      const seconds = Math.ceil((Date.now() - begun) / 1000);
      const typing = sent.filter((frame) => frame.type === "typing" && frame.data.is_typing);
      assert.ok(typing.length >= 2 && typing.length <= seconds + 1, `${typing.length} in ${seconds} s`);
    }));

  test("are told when one closes the page", () =>
    annAndBob(async (ann, bob) => {
      await count(ann.members, 2);
      await bob.close();
      await ann.notice("bob left");
      await count(ann.members, 1);
      assert.equal(await ann.page.locator("#member-count").textContent(), "1");
      assert.deepEqual(ann.complaints, []);
    }));

  test("one person's second window is no second person", () =>
    withTabs(browser, [as("ann"), as("bob"), as("bob")], async (ann, bob, bobAgain) => {
      await count(ann.members, 2);
      await bob.say("from the first window");
      const bubble = await bobAgain.bubble("from the first window");
      assert.ok(await bubble.evaluate((node) => node.parentElement.matches(".mine")));
      await bobAgain.close();
      await bob.say("still here");
      await ann.bubble("still here");
      assert.equal(await ann.page.locator(".leave").count(), 0);
    }));

  test("get hostile content as text", () =>
    annAndBob(async (ann, bob) => {
      const hostile = [
        '<img src=x onerror="window.harmed = 1">',
        "<script>window.harmed = 1</script>",
        "javascript:alert(1) &lt;b&gt; \u202Eltr \u0000 {{7*7}}",
      ];
      for (const text of hostile) {
        await ann.say(text);
        const shown = await (await bob.bubble(text.slice(0, 20))).textContent();
        assert.equal(shown, text);
      }
      for (const tab of [ann, bob]) {
        assert.equal(await tab.log.locator("img, script, b").count(), 0);
        assert.equal(await tab.page.evaluate(() => window.harmed), undefined);
        assert.deepEqual(tab.complaints, []);
      }
    }));

  test("a hostile name is text, too", () =>
    withTabs(browser, [as("ann"), as(encodeURIComponent("<b>eve</b>"))], async (ann, eve) => {
      await ann.notice("<b>eve</b> joined");
      await eve.say("hi");
      await ann.bubble("hi");
      assert.equal(await ann.page.locator("b").count(), 0);
    }));
});

describe("the page", () => {
  test("can be used with the keyboard alone", () =>
    annAndBob(async (ann, bob) => {
      const keys = ann.page.keyboard;
      assert.equal(await focused(ann), "draft", "the message field has the focus from the start");
      await keys.type("first line");
      await keys.press("Shift+Enter");
      await keys.type("second line");
      await keys.press("Enter");
      assert.equal(await (await bob.bubble("first line")).textContent(), "first line\nsecond line");

      await keys.type("by the button");
      await keys.press("Tab");
      assert.equal(await focused(ann), "send");
      await keys.press("Space");
      await bob.bubble("by the button");
      assert.equal(await focused(ann), "draft", "and one can go on writing");
      await keys.press("Shift+Tab");
      assert.equal(await focused(ann), "log", "the log can be scrolled with the arrow keys");
    }));

  test("shows members as a drawer where it is narrow, opened and closed by keys", async () => {
    const narrow = { viewport: { width: 380, height: 700 } };
    const ann = await Tab.open(browser, as("ann"), narrow);
    try {
      const toggle = ann.page.getByRole("button", { name: "Members" });
      assert.ok(!(await ann.page.locator("#members").isVisible()));
      await toggle.focus();
      await ann.page.keyboard.press("Enter");
      await ann.page.getByRole("complementary", { name: "Here now" }).waitFor();
      await ann.page.keyboard.press("Escape");
      await ann.page.locator("#members").waitFor({ state: "hidden" });
      assert.equal(await focused(ann), "members-toggle");
      const overflow = await ann.page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
      assert.ok(!overflow, "nothing sticks out sideways");
    } finally {
      await ann.close();
    }
  });

  test("does not move under a reader who has scrolled up, and has a button to the end", () =>
    annAndBob(async (ann, bob) => {
      const room = new URL(bob.page.url()).hash.slice(1);
      await bob.page.evaluate(seed, { room, count: 40 });
      await ann.bubble("line 39");
      const left = () => ann.log.evaluate((log) => log.scrollHeight - log.scrollTop - log.clientHeight);
      assert.ok((await left()) < 2, "new lines are followed");
      await ann.log.focus();
      await ann.page.keyboard.press("Home");
      await ann.page.waitForFunction(() => document.querySelector("#log").scrollTop === 0);
      await bob.say("one more");
      await ann.page.getByRole("button", { name: "New messages" }).press("Enter");
      await ann.page.waitForFunction(() => document.querySelector("#to-end").hidden);
      assert.ok((await left()) < 2);
      assert.equal(await focused(ann), "draft");
    }));

  test("has a name for everything that can be operated, and speaks through live regions", () =>
    withTabs(browser, [as("ann")], async (ann) => {
      const nameless = await ann.page.evaluate(() =>
        [...document.querySelectorAll("button, textarea, [tabindex]")]
          .filter((node) => !(node.textContent.trim() || node.labels?.length || node.ariaLabel))
          .map((node) => node.outerHTML),
      );
      assert.deepEqual(nameless, []);
      await ann.page.getByRole("log", { name: "Messages" }).waitFor();
      await ann.page.getByRole("textbox", { name: "Message to lobby" }).waitFor();
      assert.equal(await ann.page.locator("#state").getAttribute("role"), "status");
      assert.equal(await ann.typing.getAttribute("role"), "status");
    }));

  for (const colorScheme of ["light", "dark"]) {
    test(`has text of enough contrast, ${colorScheme}`, async () => {
      const ann = await Tab.open(browser, as("ann"), { colorScheme });
      try {
        await ann.say("How does this look?");
        await ann.bubble("How does this look?");
        const low = (await ann.page.evaluate(contrasts)).filter(({ ratio }) => ratio < 4.5);
        assert.deepEqual(low, []);
      } finally {
        await ann.close();
      }
    });
  }
});

describe("a server that speaks first", () => {
  // These frames are rare or come with a later state of the server: the page gets them from a
  // stand-in for the socket.
  const frame = (type, data, members = {}) => JSON.stringify({ type, room_id: "lobby", ...members, data });
  const welcome = frame("connection-status", { status: "established", user_id: "ann" });

  async function withStandIn(run, onConnect) {
    const context = await browser.newContext({ reducedMotion: "reduce" });
    const tab = new Tab(await context.newPage());
    try {
      let attempts = 0;
      await tab.page.routeWebSocket("**/v1/connect*", (socket) => {
        attempts += 1;
        socket.send(welcome);
        onConnect(socket, attempts);
      });
      await tab.page.goto(server.url);
      await run(tab, () => attempts);
    } finally {
      await context.close();
    }
  }

  test("announcements and errors are shown calmly, unknown frames not at all", () =>
    withStandIn(
      async (tab) => {
        await tab.notice("Server maintenance in 5 minutes");
        await tab.notice("too much at once. Try again in 2 s.");
        assert.deepEqual(tab.complaints, []);
      },
      (socket) => {
        socket.send(frame("announcement", { message: "Server maintenance in 5 minutes" }));
        socket.send(frame("something-new", { content: 1 }));
        socket.send(frame("error", { error: "too many", code: "rate_limited", retry_after_ms: 1500 }));
      },
    ));

  test("a room too large for names is a number", () =>
    withStandIn(
      async (tab) => {
        await tab.until(tab.page.locator("#member-note"), "4321 people");
        assert.equal(await tab.members.count(), 0);
      },
      (socket) => socket.send(frame("presence", { action: "count", count: 4321 })),
    ));

  test("typing that is never taken back is forgotten after 6 s", () =>
    withStandIn(
      async (tab) => {
        await tab.until(tab.typing, "bob is typing");
        const begun = Date.now();
        await tab.page.waitForFunction(() => document.querySelector("#typing").textContent === "");
        assert.ok(Date.now() - begun > 4000);
      },
      (socket) => socket.send(frame("typing", { is_typing: true }, { user_id: "bob" })),
    ));

  test("a close with 44xx is final, says why, and can be undone by hand", () =>
    withStandIn(
      async (tab, attempts) => {
        await tab.until(tab.state, "Disconnected");
        await tab.until(tab.page.getByRole("alert"), "newer window took over");
        await sleep(2500);
        assert.equal(attempts(), 1, "no attempt by itself");
        await tab.page.getByRole("button", { name: "Reconnect now" }).press("Enter");
        await tab.connected();
        assert.equal(attempts(), 2);
      },
      (socket, attempt) => attempt === 1 && socket.close({ code: 4409, reason: "replaced" }),
    ));

  test("retry_in_ms in the reason of a close is kept to", () =>
    withStandIn(
      async (tab, attempts) => {
        await tab.until(tab.state, "Reconnecting");
        await sleep(2000);
        assert.equal(attempts(), 1, "its own back-off would have been a second at most");
        await tab.connected();
        assert.equal(attempts(), 2);
      },
      (socket, attempt) =>
        attempt === 1 && socket.close({ code: 1001, reason: "going away; retry_in_ms=3000" }),
    ));

  test("a server that closes every connection at once is asked ever more rarely", () =>
    withStandIn(
      async (tab, attempts) => {
        await sleep(6500);
        // 1 s, 2 s and 4 s, each halved at most: the first attempt and two to four further ones.
        assert.ok(attempts() >= 3 && attempts() <= 5, `${attempts()} attempts`);
      },
      (socket) => socket.close({ code: 1011 }),
    ));
});

test("the picture for the README", { skip: !process.env.CAMPANILE_SCREENSHOT }, async () => {
  const look = { viewport: { width: 1240, height: 720 }, deviceScaleFactor: 2 };
  const bob = await Tab.open(browser, as("Bob", "kitchen"));
  const clara = await Tab.open(browser, as("Clara", "kitchen"));
  const ann = await Tab.open(browser, as("Ann", "kitchen"), look);
  try {
    for (const name of ["Releases", "Quiet corner"]) {
      await ann.page.getByRole("button", { name: "New room" }).click();
      await ann.page.keyboard.type(name);
      await ann.page.keyboard.press("Enter");
      await ann.until(ann.page.locator("#room-name"), name);
    }
    await clara.page.goto(as("Clara", "releases"));
    for (const text of ["0.4 is out.", "Rooms, history, recovery."]) await clara.say(text);
    await clara.page.goto(as("Clara", "kitchen"));
    await ann.page.locator("#room-list").getByRole("link", { name: "kitchen" }).click();
    await bob.say("Good morning! Is the new build up?");
    await ann.bubble("Is the new build up?");
    await ann.say("It is. One io_uring per core, and everybody in this room on the same log.");
    await bob.say("So a message is written once…");
    await bob.say("…and sent to each of us by reference?");
    await clara.bubble("by reference?");
    await clara.say("And if my train goes through a tunnel?");
    await ann.bubble("through a tunnel");
    await ann.say("Then you get what you missed, each message once. Try it!");
    await ann.until(ann.page.locator(".status"), "Read by 2");
    await bob.draft.pressSequentially("All right", { delay: 150 });
    await ann.until(ann.typing, "Bob is typing");
    await mkdir(path.join(ROOT, "docs/images"), { recursive: true });
    await ann.page.screenshot({ path: path.join(ROOT, "docs/images/chat.png") });
  } finally {
    await Promise.all([ann, bob, clara].map((tab) => tab.close()));
  }
});

function focused(tab) {
  return tab.page.evaluate(() => document.activeElement.id);
}

/** Runs in the page: the contrast of each visible text on its ground, WCAG 2.2 section 1.4.3. */
function contrasts() {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = ([red, green, blue]) => {
    const linear = [red, green, blue]
      .map((value) => value / 255)
      .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const ground = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const color = rgba(getComputedStyle(at).backgroundColor);
      if (color[3] === 255) return color;
    }
    return [255, 255, 255, 255];
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  while (texts.nextNode()) {
    const node = texts.currentNode.parentElement;
    const text = texts.currentNode.data.trim();
    if (!text || !node.checkVisibility() || node.closest(":disabled, noscript")) continue;
    const pair = [luminance(rgba(getComputedStyle(node).color)), luminance(ground(node))];
    found.push({ text, ratio: (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05) });
  }
  return found;
}
