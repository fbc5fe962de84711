// The page in a real browser: it shows a running fleet, finds a job, cancels one, replays a dead letter, and survives
// the worker's restart and the loss of Redis. With COMET_TEST_SHOTS, a folder, its pictures go there.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { Stand, TOKEN, until } from "./stand.mjs";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const shots = process.env.COMET_TEST_SHOTS;
const stand = new Stand();
const faults = [];

function watched(page) {
  page.on("console", (message) => {
    // A refused request is part of the test, and the browser says each.
    const isRefusal = /Failed to load resource.*(401|404|409|503|ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED_ENCODING|ERR_CONNECTION_RESET)/.test(message.text());
    if (["error", "warning"].includes(message.type()) && !isRefusal) faults.push(`console: ${message.text()}`);
  });
  page.on("pageerror", (error) => faults.push(`exception: ${error.message}`));
  page.on("request", (request) => {
    const { protocol, href } = new URL(request.url());
    if (protocol !== "blob:" && !href.startsWith(stand.url)) faults.push(`a request to elsewhere: ${href}`);
    if (href.includes(TOKEN)) faults.push(`the token in a URL: ${href}`);
  });
  return page;
}

const text = (page, selector) => page.locator(selector).innerText();
const step = (words) => console.log(`page: ${words}`);

async function run() {
  await stand.start();
  let worker = stand.worker();
  const browser = await stand.browser();
  const page = watched(await browser.newPage({ viewport: { width: 1280, height: 900 }, colorScheme: "light" }));
  await until("the worker", () => fetch(`${stand.url}/readyz`).then((reply) => reply.ok, () => false));

  await stand.submit(["done-1", "done-2"], "two that end at once");
  await until("two ends", async () => (await fetch(`${stand.url}/api/fleet`).then((reply) => reply.json())).recent.length === 2);
  await stand.durations("fixed:600s");
  await stand.submit(["run-1", "run-2", "run-3", "run-4"], "four that run");
  // The same id with another input is a dead letter.
  await stand.submit(["done-1"], "<img src=x onerror=alert(1)>");

  await page.goto(stand.url);
  await until("four generations", async () => (await text(page, "#stages")).includes("generating 4"));
  await until("the jobs", async () => (await page.locator("#jobs tr").count()) === 4);
  assert.match(await text(page, "#glance"), /Workers\s*1/);
  await until("thumbnails", async () => (await page.locator("#recent img").count()) === 2);
  await until("the charts", async () => (await text(page, "#ends-words")).includes("2 succeeded"));
  await until("what is spent", async () => /Units spent today\s*16/.test(await text(page, "#glance")));
  assert.match(await text(page, "#spend"), /\d{4}-\d\d-\d\d\s*16\s*2/);
  assert.match(await text(page, "#state"), /works/);
  step("shows a running fleet");

  await page.getByLabel("Find a job by its id").fill("run-2");
  await page.keyboard.press("Enter");
  await page.locator("dialog#job[open]").waitFor();
  assert.match(await text(page, "#job-facts"), /generating/);
  assert.match(await text(page, "#job-history"), /accepted/);
  await page.keyboard.press("Escape");
  await page.getByLabel("Find a job by its id").fill("nobody");
  await page.keyboard.press("Enter");
  await until("what is not known", async () => (await text(page, "#job-facts")).includes("knows nobody"));
  await page.keyboard.press("Escape");
  step("finds a job, and says that another is unknown");

  await page.getByRole("button", { name: "Look at them" }).click();
  await until("the dead letter", async () => (await text(page, "#dead")).includes("conflict"));

  if (shots) await pictures(browser, page);
  await isAccessible(browser);

  await page.getByRole("button", { name: "Cancel run-1" }).click();
  assert.equal(await page.evaluate(() => document.activeElement.id), "confirm-no", "the safe answer is the first");
  await page.locator("#confirm-yes").click();
  await page.locator("dialog#token-dialog[open]").waitFor();
  await page.locator("#token-text").fill("not the token at all");
  await page.keyboard.press("Enter");
  await until("the refusal", async () => (await text(page, "#token-trouble")).includes("admin.token"));
  await page.locator("#token-text").fill(TOKEN);
  await page.keyboard.press("Enter");
  await page.locator("dialog#token-dialog").waitFor({ state: "hidden" });
  await page.locator("#confirm-yes").click();
  await page.locator("dialog#confirm").waitFor({ state: "hidden" });
  await until("its end", async () => /run-1\s+cancelled/.test(await text(page, "#recent")));
  await until("three left", async () => (await page.locator("#jobs tr").count()) === 3);
  step("cancels a job, with the token alone");

  await page.getByRole("button", { name: /^Replay/ }).click();
  await page.locator("#confirm-yes").click();
  await page.locator("dialog#confirm").waitFor({ state: "hidden" });
  await until("the letter that came back", async () => {
    await page.getByRole("button", { name: "Look at them" }).click();
    return (await text(page, "#dead")).includes("replayed 1 times");
  });
  step("replays a dead letter");

  worker.kill("SIGSTOP");
  await until("the silence", async () => (await text(page, "#state")).includes("no news"));
  worker.kill("SIGCONT");
  await until("the worker again", async () => (await text(page, "#state")).includes("works"));
  step("says when the worker hangs");

  await stand.stop(worker);
  await until("what is wrong", async () => !(await text(page, "#state")).includes("works"));
  worker = stand.worker();
  await until("the next worker", async () => (await text(page, "#state")).includes("works") && (await text(page, "#stages")).includes("generating 3"));
  step("survives a restart of the worker");

  await stand.stop(stand.redis, "SIGKILL");
  await until("the loss of Redis", async () => /Redis|redis/.test(await text(page, "#state")));
  await stand.startRedis();
  await until("the fleet again", async () => (await text(page, "#state")).includes("works") && (await text(page, "#stages")).includes("generating 3"));
  step("survives the loss of Redis");

  await browser.close();
  assert.deepEqual(faults, []);
}

// By the rules of WCAG that a program can check, in both themes and narrow as well. The policy of the page would refuse
// the checker, so this is a page of its own.
async function isAccessible(browser) {
  for (const [colorScheme, width] of [["light", 1280], ["dark", 390]]) {
    const context = await browser.newContext({ bypassCSP: true, colorScheme, viewport: { width, height: 900 } });
    const page = watched(await context.newPage());
    await page.goto(stand.url);
    await until("the jobs", async () => (await page.locator("#jobs tr").count()) === 4);
    await page.getByRole("button", { name: "Look at them" }).click();
    await until("the dead letter", async () => (await text(page, "#dead")).includes("conflict"));
    await page.addScriptTag({ content: axe });
    const { violations } = await page.evaluate(() => window.axe.run());
    const found = violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map((node) => node.target).join(" ")}`);
    assert.deepEqual(found, [], `${colorScheme}, ${width} wide`);
    const overflows = await page.evaluate(() => document.documentElement.scrollWidth > window.innerWidth);
    assert.equal(overflows, false, `it is wider than ${width}`);
    await page.reload();
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.className), "skip");
    await context.close();
  }
  step("breaks no rule that a checker of accessibility knows");
}

async function pictures(browser, wide) {
  for (const [colorScheme, width, name] of [["light", 1280, "wide"], ["dark", 1280, "wide"], ["light", 390, "narrow"], ["dark", 390, "narrow"]]) {
    const page = await browser.newPage({ viewport: { width, height: 900 }, colorScheme });
    await page.goto(stand.url);
    await until("the page", async () => (await page.locator("#jobs tr").count()) === 4 && (await page.locator("#recent img").count()) === 2);
    await until("the charts", async () => (await text(page, "#ends-words")).includes("succeeded"));
    await page.getByRole("button", { name: "Look at them" }).click();
    await until("the dead letter", async () => (await text(page, "#dead")).includes("conflict"));
    await page.screenshot({ path: `${shots}/${name}-${colorScheme}.png`, fullPage: true });
    await page.close();
  }
  await wide.bringToFront();
}

run().then(() => stand.end(), async (error) => {
  console.error(error);
  if (faults.length) console.error(faults);
  await stand.end();
  process.exit(1);
});
