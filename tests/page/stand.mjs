// What the tests of the page and of the boards need around them: a stand-in for CometAPI, a Redis of its own, workers,
// other programs, and a browser.

import { spawn } from "node:child_process";
import { createServer } from "node:net";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { randomUUID } from "node:crypto";

const PROGRAM = "target/debug/comet-worker";
export const TOKEN = "0123456789abcdef0123";
const PATIENCE_MS = 120000;

export async function until(what, look) {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    const value = await look();
    if (value) return value;
    if (Date.now() > end) throw new Error(`waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

export function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

export class Stand {
  #children = new Set();
  folder = mkdtempSync(join(tmpdir(), "comet-page-"));
  prefix = `comet-page-${randomUUID().slice(0, 8)}`;

  async start() {
    const sim = this.#run("target/debug/examples/comet-sim", ["--listen", "127.0.0.1:0", "--durations", "fixed:1s"]);
    this.api = await this.#line(sim.stdout, /listening on (http\S+)/);
    this.redisPort = await freePort();
    await this.startRedis();
    this.port = await freePort();
    this.url = `http://127.0.0.1:${this.port}`;
  }

  async startRedis() {
    const arguments_ = ["--port", this.redisPort, "--bind", "127.0.0.1", "--save", "", "--dir", this.folder];
    this.redis = this.#run("redis-server", arguments_.map(String));
    await this.#line(this.redis.stdout, /(Ready to accept connections)/);
  }

  stop(child, signal = "SIGTERM") {
    return new Promise((resolve) => {
      child.once("exit", resolve);
      child.kill(signal);
    });
  }

  worker(settings = {}) {
    return this.#run(PROGRAM, ["run"], this.#environment({ ADMIN__LISTEN: `127.0.0.1:${this.port}`, ADMIN__TOKEN: TOKEN, ...settings }));
  }

  // Another program, which is stopped with the rest.
  program(name, arguments_) {
    return this.#run(name, arguments_);
  }

  // Runs a command to its end; its output.
  async command(...arguments_) {
    const child = this.#run(PROGRAM, arguments_, this.#environment({}));
    let said = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => { said += data; });
    const code = await new Promise((resolve) => child.once("exit", resolve));
    return { code, said };
  }

  async submit(ids, prompt) {
    const jobs = ids.map((id) => ({
      job_id: id,
      input: { prompt, subject_image_list: [{ subject_image: "https://a.example/a.png" }, { subject_image: "https://a.example/b.png" }] },
    }));
    const file = join(this.folder, "jobs.json");
    writeFileSync(file, JSON.stringify(jobs));
    const { code, said } = await this.command("submit", file);
    if (code !== 0) throw new Error(said);
  }

  durations(distribution) {
    return this.#steer("durations", { distribution });
  }

  faults(faults) {
    return this.#steer("faults", faults);
  }

  async browser() {
    const { chromium } = await import("playwright-core");
    // Root has no sandbox; nothing but this test's own page is opened.
    return chromium.launch({ executablePath: process.env.COMET_TEST_CHROMIUM, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
  }

  async end() {
    await Promise.all([...this.#children].map((child) => this.stop(child, "SIGKILL")));
    rmSync(this.folder, { recursive: true, force: true });
  }

  async #steer(what, body) {
    const reply = await fetch(`${this.api}/sim/${what}`, {
      method: "PUT", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
    });
    if (!reply.ok) throw new Error(await reply.text());
  }

  #environment(settings) {
    const all = {
      AMQP__URL: process.env.AMQP_URL, AMQP__QUEUE: `${this.prefix}.jobs`, AMQP__EXCHANGE: `${this.prefix}.events`,
      AMQP__DEAD_QUEUE: `${this.prefix}.dead`, AMQP__UNROUTED_QUEUE: `${this.prefix}.unrouted`,
      REDIS__URL: `redis://127.0.0.1:${this.redisPort}`, REDIS__PREFIX: this.prefix,
      API__BASE_URL: this.api, API__KEY: "sk-sim", STORAGE__URL: `file:${this.folder}/store`, STORAGE__FSYNC: "false",
      DOWNLOAD__ALLOW_PRIVATE_HOSTS: "true", POLL__FIRST_MS: "200", POLL__MIN_MS: "200", POLL__MAX_MS: "500", ...settings,
    };
    return Object.fromEntries(Object.entries(all).map(([key, value]) => [`COMET_WORKER__${key}`, value]));
  }

  #run(program, arguments_, environment = {}) {
    const child = spawn(program, arguments_, { env: { ...process.env, ...environment }, stdio: ["ignore", "pipe", "pipe"] });
    this.#children.add(child);
    child.once("exit", () => this.#children.delete(child));
    child.once("error", (error) => { throw error; });
    child.stdout.on("data", () => {});
    child.stderr.on("data", (data) => { if (process.env.COMET_TEST_SHOW) process.stderr.write(data); });
    return child;
  }

  #line(stream, pattern) {
    return new Promise((resolve, reject) => {
      let text = "";
      stream.on("data", (data) => {
        text += data;
        const found = text.match(pattern);
        if (found) resolve(found[1]);
      });
      stream.once("end", () => reject(new Error(`it ended without ${pattern}: ${text}`)));
    });
  }
}
