// The Grafana dashboard on a real Prometheus that has scraped a real worker: the query of each panel finds something.

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Stand, freePort, until } from "../page/stand.mjs";

const { panels } = JSON.parse(readFileSync("deploy/grafana/comet-worker.json", "utf8"));
const stand = new Stand();

// What Prometheus finds for a query now; a NaN is nothing.
async function found(prometheus, expression) {
  const query = expression.replaceAll("$__rate_interval", "1m");
  const reply = await fetch(`${prometheus}/api/v1/query?query=${encodeURIComponent(query)}`);
  const { status, data, error } = await reply.json();
  if (status !== "success") throw new Error(`${query}: ${error}`);
  return data.result.filter(({ value: [, value] }) => value !== "NaN");
}

async function run() {
  await stand.start();
  await stand.faults({ failed: 0.2, "image-error": 0.2, "content-policy": 0.1, busy: "2x" });
  stand.worker({ GENERATION__MAX_RUNNING: "5" });
  const port = await freePort();
  const prometheus = `http://127.0.0.1:${port}`;
  const config = join(stand.folder, "prometheus.yml");
  writeFileSync(config, `global: {scrape_interval: 1s}
scrape_configs: [{job_name: comet-worker, static_configs: [{targets: ["127.0.0.1:${stand.port}"]}]}]
`);
  stand.program("prometheus", [
    `--config.file=${config}`, `--storage.tsdb.path=${join(stand.folder, "prometheus")}`, `--web.listen-address=127.0.0.1:${port}`,
  ]);
  await until("the first scrape", async () => (await found(prometheus, "comet_build_info").catch(() => [])).length > 0);
  await stand.submit(Array.from({ length: 40 }, (_, number) => `board-${number}`), "forty for the boards");
  await until("forty ends", async () => {
    const { recent, jobs } = await fetch(`${stand.url}/api/fleet`).then((reply) => reply.json());
    return recent.length === 40 && Object.values(jobs).every((number) => number === 0);
  });
  const targets = panels.flatMap(({ title, targets: all }) => all.map(({ expr }) => ({ title, expr })));
  assert.ok(targets.length > 30, "the dashboard has no panels");
  for (const { title, expr } of targets) {
    await until(`something for the panel "${title}": ${expr}`, async () => (await found(prometheus, expr)).length > 0);
  }
  console.log(`boards: ${panels.length} panels with ${targets.length} queries, none empty`);
}

run().then(() => stand.end(), async (error) => {
  console.error(error);
  await stand.end();
  process.exit(1);
});
