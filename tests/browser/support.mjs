// The built binary on a free port, and Chromium beside it.

import { spawn } from "node:child_process";
import { once } from "node:events";
import net from "node:net";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

import { chromium } from "playwright-core";

export const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const BINARY = process.env.CAMPANILE_BIN ?? path.join(ROOT, "target/debug/campanile");
const CHROMIUM = process.env.CHROMIUM_BIN ?? "/usr/bin/chromium";
const READY_MS = 10_000;
const EXIT_MS = 10_000;

export async function freePort() {
  const listener = net.createServer().listen(0, "127.0.0.1");
  await once(listener, "listening");
  const { port } = listener.address();
  listener.close();
  await once(listener, "close");
  return port;
}

export class Server {
  #process = null;
  #environment;
  #arguments;
  #log = "";

  /** `admin`: the address of the admin listener; without one there is none. */
  constructor(port, environment, more, admin = "") {
    this.port = port;
    this.#environment = environment;
    this.#arguments = ["serve", "--listen", `127.0.0.1:${port}`, "--admin-listen", admin, ...more];
  }

  /**
   * Starts the binary with these variables (`CAMPANILE_SECTION__KEY`) and further arguments;
   * resolves when it listens.
   */
  static async start(environment = {}, ...more) {
    const server = new Server(await freePort(), environment, more);
    await server.start();
    return server;
  }

  get url() {
    return `http://127.0.0.1:${this.port}/`;
  }

  /** What it has logged since it was started. */
  get log() {
    return this.#log;
  }

  /** Starts it again on the port that it had. */
  async start() {
    const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith("CAMPANILE_"));
    this.#log = "";
    this.#process = spawn(BINARY, this.#arguments, {
      // Nothing is kept but where a test says so.
      env: { ...Object.fromEntries(inherited), CAMPANILE_STORE__PATH: "", ...this.#environment },
      stdio: ["ignore", "pipe", "pipe"],
    });
    for (const stream of [this.#process.stdout, this.#process.stderr]) {
      stream.on("data", (text) => (this.#log += text));
    }
    await once(this.#process, "spawn"); // throws if there is no such program
    for (const end = Date.now() + READY_MS; Date.now() < end; await sleep(20)) {
      if (this.#process.exitCode !== null) break;
      if (this.#log.includes("listening on ws://")) return;
    }
    await this.kill();
    throw new Error(`${BINARY} did not start:\n${this.#log}`);
  }

  /** SIGTERM; resolves to the exit code. */
  async stop() {
    if (this.#process === null || this.#process.exitCode !== null) return this.#process?.exitCode;
    const exit = once(this.#process, "exit");
    this.#process.kill("SIGTERM");
    const late = sleep(EXIT_MS, "late", { ref: false });
    const [code] = await Promise.race([exit, late.then(() => ["late"])]);
    if (code !== "late") return code;
    await this.kill();
    throw new Error(`still running ${EXIT_MS} ms after SIGTERM:\n${this.#log}`);
  }

  async kill() {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const exit = once(this.#process, "exit");
    this.#process.kill("SIGKILL");
    await exit;
  }
}

/** Chromium; `more` are further arguments for it. */
export function launchChromium(...more) {
  return chromium.launch({
    executablePath: CHROMIUM,
    args: [
      ...more,
      "--headless",
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
}

/** One person at one chat page, who remembers what the page complained about. */
export class Tab {
  complaints = [];

  constructor(page) {
    this.page = page;
    page.setDefaultTimeout(20_000);
    page.on("pageerror", (error) => this.complaints.push(`exception: ${error}`));
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) this.complaints.push(message.text());
    });
    page.on("requestfailed", (request) => this.complaints.push(`request failed: ${request.url()}`));
    page.on("response", (response) => {
      if (response.status() >= 400) this.complaints.push(`${response.status()} ${response.url()}`);
    });
    this.state = page.locator("#state");
    this.draft = page.locator("#draft");
    this.log = page.getByRole("log");
    this.members = page.locator("#member-list li");
    this.typing = page.locator("#typing");
  }

  /** Opens the page in a context of its own and waits for the welcome. */
  static async open(browser, url, options = {}) {
    const context = await browser.newContext({ reducedMotion: "reduce", ...options });
    const tab = new Tab(await context.newPage());
    await tab.page.goto(url);
    await tab.connected();
    return tab;
  }

  connected() {
    return this.page.locator('#state[data-state="connected"]').waitFor({ timeout: 30_000 });
  }

  id() {
    return this.page.locator("#me").textContent();
  }

  async say(text) {
    await this.draft.fill(text);
    await this.draft.press("Enter");
  }

  /** The bubble with exactly this text, once it is there. */
  async bubble(text) {
    const bubble = this.page.locator(".bubble").filter({ hasText: text }).last();
    await bubble.waitFor();
    return bubble;
  }

  async notice(text) {
    await this.page.locator(".notice").filter({ hasText: text }).last().waitFor();
  }

  /** Waits until a locator's text is this. */
  async until(locator, text) {
    await locator.filter({ hasText: text }).first().waitFor();
  }

  close() {
    return this.page.context().close();
  }
}

/** Runs `test(tabs...)` with pages of these people, and closes them whatever happens. */
export async function withTabs(browser, urls, test) {
  const tabs = [];
  try {
    for (const url of urls) tabs.push(await Tab.open(browser, url));
    await test(...tabs);
  } finally {
    await Promise.all(tabs.map((tab) => tab.close()));
  }
}
