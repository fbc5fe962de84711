// The page of the admin port. It shows what /api says and does nothing by itself: every text goes into the page as
// text, never as markup, whatever it contains.
"use strict";

const byId = (id) => document.getElementById(id);
const STAGES = ["waiting", "submitting", "recovering", "generating", "storing", "publishing"];
const state = { stage: "", fleet: null, token: sessionStorage.getItem("comet-admin-token") || "", thumbnails: new Map(), shown: 0, acting: false };

// ---- Elements ----------------------------------------------------------------------------------

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "onclick") made.addEventListener("click", value);
    else if (value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

const cell = (text, kind) => element("td", kind ? { class: kind } : {}, text ?? "");
const row = (...cells) => element("tr", {}, ...cells);

// Replaces rows only where something has changed, so that focus and selection stay.
function fill(id, items, columns, none, make, mark) {
  const body = byId(id);
  const marks = items.length ? items.map(mark) : ["-"];
  if (body.dataset.marks === JSON.stringify(marks)) return;
  body.dataset.marks = JSON.stringify(marks);
  const before = new Map([...body.children].map((child) => [child.dataset.mark, child]));
  const rows = items.length
    ? items.map((item, index) => {
        const kept = before.get(marks[index]);
        if (kept) return kept;
        const made = make(item);
        made.dataset.mark = marks[index];
        return made;
      })
    : [row(element("td", { class: "none", colspan: columns }, none))];
  body.replaceChildren(...rows);
}

// ---- Times -------------------------------------------------------------------------------------

// All ages are by the clock of the fleet, as of the last state.
const now = () => (state.fleet ? Date.parse(state.fleet.time) : Date.now());

function age(time) {
  const seconds = Math.max(0, Math.round((now() - Date.parse(time)) / 1000));
  if (Number.isNaN(seconds)) return "?";
  return span(seconds);
}

function span(seconds) {
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} days`;
}

// A cell whose words go on while its row stays.
const agingCell = (time, behind = "") => element("td", { class: "short", "data-since": time, "data-behind": behind }, age(time) + behind);

function goOn() {
  for (const aging of document.querySelectorAll("[data-since]")) {
    const words = age(aging.dataset.since) + aging.dataset.behind;
    if (aging.textContent !== words) aging.textContent = words;
  }
}

// ---- Asking ------------------------------------------------------------------------------------

function ask(path, options = {}) {
  const headers = { ...options.headers };
  if (state.token) headers.Authorization = `Bearer ${state.token}`;
  return fetch(`/api/${path}`, { ...options, headers, cache: options.cache ?? "no-store" });
}

async function json(path, options) {
  // Fetching images anew may take the worker two minutes.
  const limit = AbortSignal.timeout(options?.method ? 130000 : 15000);
  const reply = await ask(path, { signal: limit, ...options });
  const answer = await reply.json().catch(() => ({}));
  if (reply.status === 401) throw new NotAllowed(answer.error ?? "a token is needed");
  if (!reply.ok) throw new Error(answer.error ?? `HTTP ${reply.status}`);
  return answer;
}

class NotAllowed extends Error {}

// ---- The fleet ---------------------------------------------------------------------------------

function show(fleet) {
  state.fleet = fleet;
  const unfinished = STAGES.reduce((sum, stage) => sum + (fleet.jobs[stage] ?? 0), 0);
  const stands = fleet.workers.length === 0 || fleet.workers.every((worker) => worker.standstills.length > 0);
  say(`${stands ? "stands still" : "works"} · ${fleet.time.replace("T", " ").slice(0, 19)} UTC`, stands);
  showStandstills(fleet);
  const known = (number) => (number === null || number === undefined ? "?" : String(number));
  const facts = [
    ["Workers", String(fleet.workers.length)],
    ["Unfinished", String(unfinished)],
    ["Ready in the queue", known(fleet.queues.jobs)],
    ["Dead letters", known(fleet.queues.dead)],
    ["Unrouted events", known(fleet.queues.unrouted)],
  ];
  if (fleet.slots.max > 0) facts.push(["Slots taken", `${fleet.slots.taken} of ${fleet.slots.max}`]);
  if (fleet.pace_per_s !== null) facts.push(["Submits a second", fleet.pace_per_s.toFixed(1)]);
  if (fleet.spend) facts.push(["Units spent today", spendWords(fleet.spend)]);
  if (fleet.spend && fleet.spend.expected !== "0") facts.push(["Running cost about", fleet.spend.expected]);
  const glance = byId("glance");
  if (glance.dataset.facts !== JSON.stringify(facts)) {
    glance.dataset.facts = JSON.stringify(facts);
    glance.replaceChildren(...facts.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))));
  }
  showStages(fleet);
  fill("recent", fleet.recent, 5, "None yet.", recentRow, (end) => `${end.job_id} ${end.at} ${end.outcome}`);
  showFailures(fleet.recent);
  fill("workers", fleet.workers, 7, "No worker runs.", workerRow, (worker) => JSON.stringify([worker.id, worker.in_flight, worker.standstills]));
  goOn();
}

function spendWords(spend) {
  const of = spend.max === null ? "" : ` of ${spend.max}`;
  return `${spend.units}${of}${spend.money ? `; ${money(spend.money)}` : ""}`;
}

function say(words, isTrouble) {
  const said = byId("state");
  said.classList.toggle("bad", isTrouble);
  if (said.textContent !== words) said.textContent = words;
}

function showStandstills(fleet) {
  const kinds = new Map();
  for (const worker of fleet.workers) {
    for (const standstill of worker.standstills) {
      // Two of the same kind are one, unless something else has to be done about them.
      const kind = `${standstill.what} ${standstill.do}`;
      const known = kinds.get(kind) ?? { ...standstill, on: new Set() };
      known.on.add(worker.id);
      if (standstill.since < known.since) known.since = standstill.since;
      kinds.set(kind, known);
    }
  }
  const all = [...kinds.values()].map(({ on, ...standstill }) => ({ ...standstill, workers: on.size }));
  if (fleet.workers.length === 0) {
    all.push({ what: "fleet", since: null, detail: "no worker runs: the jobs wait in their queue", do: "start one: comet-worker run", workers: 0 });
  }
  const section = byId("standstills");
  section.hidden = all.length === 0;
  const marks = JSON.stringify(all);
  if (section.dataset.marks === marks) return;
  section.dataset.marks = marks;
  section.querySelector("ul").replaceChildren(...all.map((standstill) => {
    const since = standstill.since ? element("span", { "data-since": standstill.since, "data-behind": "" }, age(standstill.since)) : null;
    const of = standstill.workers ? ` on ${standstill.workers} of ${fleet.workers.length} workers` : "";
    return element("li", {}, element("strong", {}, standstill.what), since ? " for " : "", since, `${of}: ${standstill.detail}`, element("br"), `→ ${standstill.do}`);
  }));
}

function showStages(fleet) {
  const box = byId("stages");
  if (!box.children.length) {
    for (const stage of ["", ...STAGES]) {
      box.append(element("button", { type: "button", "data-stage": stage, onclick: () => { state.stage = stage; showStages(state.fleet); showJobs(); } }));
    }
  }
  for (const button of box.children) {
    const stage = button.dataset.stage;
    const number = stage ? fleet.jobs[stage] ?? 0 : STAGES.reduce((sum, name) => sum + (fleet.jobs[name] ?? 0), 0);
    const words = `${stage || "all"} ${number}`;
    if (button.textContent !== words) button.textContent = words;
    button.setAttribute("aria-pressed", String(stage === state.stage));
  }
}

async function showJobs() {
  const stage = state.stage;
  try {
    const { jobs } = await json(`jobs?limit=100${stage ? `&stage=${stage}` : ""}`);
    if (stage !== state.stage) return;
    fill("jobs", jobs, 4, "None.", (job) => row(
      element("td", {}, jobLink(job.job_id)),
      cell(job.stage, "short"),
      agingCell(job.since),
      element("td", { class: "short" }, element("button", { type: "button", "aria-label": `Cancel ${job.job_id}`, onclick: () => cancel(job.job_id) }, "Cancel…")),
    ), (job) => `${job.job_id} ${job.stage} ${job.since}`);
  } catch (error) {
    trouble(error);
  }
}

const jobLink = (job) => element("button", { type: "button", class: "link", onclick: () => showJob(job) }, job);

function outcomeCell(end) {
  const good = end.outcome === "succeeded";
  const words = (end.reason ? `${end.outcome}: ${end.reason}` : end.outcome) + (end.supersedes ? " (a correction)" : "");
  return cell(words, good ? "good" : end.outcome === "failed" ? "bad" : undefined);
}

function recentRow(end) {
  const picture = element("td");
  if (end.image) thumbnail(end.job_id, 0).then((image) => image && picture.append(image));
  else if (end.video || end.audio) picture.append(mediaIcon(end.video ? "video" : "sound"));
  return row(picture, element("td", {}, jobLink(end.job_id)), outcomeCell(end), agingCell(end.at, " ago"), cell(end.message, "text"));
}

// Videos and sounds are not fetched: they may be hundreds of megabytes.
function mediaIcon(kind) {
  return element("span", { class: "media", role: "img", "aria-label": `a ${kind}`, title: `a ${kind}` }, kind === "video" ? "\u25b6" : "\u266a");
}

// Images are fetched one after the other, and the latest 200 are kept.
let lastImage = Promise.resolve();
function thumbnail(job, index) {
  const key = `${job}/${index}`;
  if (!state.thumbnails.has(key)) {
    lastImage = lastImage.then(async () => {
      try {
        const reply = await ask(`jobs/${encodeURIComponent(job)}/images/${index}`, { cache: "default" });
        if (reply.ok) return URL.createObjectURL(await reply.blob());
      } catch {
        // Like an answer without an image.
      }
      // It may be there the next time.
      state.thumbnails.delete(key);
      return null;
    });
    state.thumbnails.set(key, lastImage);
    if (state.thumbnails.size > 200) {
      const [oldest, url] = state.thumbnails.entries().next().value;
      state.thumbnails.delete(oldest);
      url.then((made) => made && URL.revokeObjectURL(made));
    }
  }
  return state.thumbnails.get(key).then((url) => (url ? element("img", { src: url, alt: `image ${index} of ${job}` }) : null));
}

function showFailures(recent) {
  const reasons = new Map();
  for (const end of recent.filter((end) => end.outcome === "failed")) {
    const known = reasons.get(end.reason) ?? { reason: end.reason, number: 0, job: end.job_id, message: end.message };
    known.number += 1;
    reasons.set(end.reason, known);
  }
  const all = [...reasons.values()].sort((one, other) => other.number - one.number);
  fill("failures", all, 4, "None among the latest ends.", (failure) => row(
    cell(failure.reason), cell(String(failure.number)), element("td", {}, jobLink(failure.job)), cell(failure.message, "text"),
  ), (failure) => JSON.stringify(failure));
}

function workerRow(worker) {
  const words = worker.standstills.map((standstill) => standstill.what).join(", ");
  return row(cell(worker.id, "short"), cell(worker.host), cell(String(worker.pid)), cell(worker.version), agingCell(worker.started),
    cell(String(worker.in_flight)), cell(words ? `stands still: ${words}` : "works", words ? "bad" : "good"));
}

// ---- Charts ------------------------------------------------------------------------------------

const SVG = "http://www.w3.org/2000/svg";

function bars(id, layers, words) {
  const chart = byId(id);
  const count = layers[0].values.length;
  const most = Math.max(1, ...layers[0].values.map((_, index) => layers.reduce((sum, layer) => sum + layer.values[index], 0)));
  const width = 240 / count;
  const parts = [];
  for (let index = 0; index < count; index += 1) {
    let floor = 48;
    for (const layer of layers) {
      const height = (layer.values[index] / most) * 46;
      if (height === 0) continue;
      floor -= height;
      const bar = document.createElementNS(SVG, "rect");
      for (const [name, value] of Object.entries({ x: index * width, y: floor, width: width * 0.8, height, class: layer.kind })) bar.setAttribute(name, value);
      parts.push(bar);
    }
  }
  chart.replaceChildren(...parts);
  byId(`${id}-words`).textContent = words;
}

async function showHour() {
  try {
    const { minutes } = await json("hour");
    const sum = (name) => minutes.reduce((all, minute) => all + minute[name], 0);
    const other = minutes.map((minute) => minute.failed + minute.cancelled);
    bars("ends", [
      { kind: "good", values: minutes.map((minute) => minute.succeeded) },
      { kind: "bad", values: other },
    ], `${sum("succeeded")} succeeded, ${sum("failed")} failed, ${sum("cancelled")} cancelled`);
    const queued = minutes.map((minute) => minute.queued_ms ?? 0);
    const longest = Math.max(...queued);
    bars("queued", [{ kind: "level", values: queued }], longest > 0 ? `at most ${span(Math.round(longest / 1000))} on average of a minute` : "nothing known: producers may set the message's timestamp");
  } catch (error) {
    trouble(error);
  }
}

async function showSpend() {
  try {
    const { days } = await json("spend?days=7");
    const spent = days.filter((day) => day.jobs + day.unsaid + day.perhaps > 0);
    fill("spend", spent, 7, "Nothing within a week.", spendRow, (day) => JSON.stringify(day));
  } catch (error) {
    trouble(error);
  }
}

const money = (amount) => (amount ? `${amount.amount.toFixed(2)} ${amount.currency}` : "");

// Amounts are decimal numbers in text.
function spendRow(day) {
  const units = Number((Number(day.units) + Number(day.estimated)).toFixed(6));
  const labels = Object.entries(day.labels).sort(([, one], [, other]) => Number(other.units) - Number(one.units));
  const most = labels.slice(0, 3).map(([label, spend]) => `${label || "others"}: ${spend.units}`).join(", ");
  return row(cell(day.day, "short"), cell(String(units)), cell(money(day.money)), cell(String(day.jobs)), cell(String(day.unsaid)),
    cell(String(day.perhaps)), cell(most, "text"));
}

// ---- One job -----------------------------------------------------------------------------------

async function showJob(job) {
  const dialog = byId("job");
  // What arrives for a job that is not shown any more is dropped.
  state.shown += 1;
  const mine = state.shown;
  try {
    const life = await json(`jobs/${encodeURIComponent(job)}`);
    if (mine !== state.shown) return;
    byId("job-head").textContent = life.job_id;
    const at = life.stage ?? life.outcome ?? (life.cancelled ? "cancelled before a worker has seen it" : "no outcome is known");
    const facts = [
      ["State", at], ["Since", life.since], ["Reason", life.reason], ["Message", life.message], ["Task id", life.task_id],
      ["External id", life.external_task_id], ["Charged", life.charged], ["Cancelled", life.cancelled && life.stage ? "by its user" : null],
    ].filter(([, value]) => value !== null && value !== undefined);
    byId("job-facts").replaceChildren(...facts.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
    const pictures = byId("job-images");
    pictures.replaceChildren();
    life.images.forEach((image, index) => thumbnail(life.job_id, index).then((made) => {
      if (mine === state.shown) pictures.append(made ?? element("p", {}, image.location));
    }));
    for (const [kind, files] of [["video", life.videos], ["sound", life.audios]]) {
      for (const file of files ?? []) pictures.append(element("p", {}, mediaIcon(kind), ` ${file.location}`));
    }
    byId("job-history").replaceChildren(...(life.history.length ? life.history.map(momentOf) : [element("li", {}, "No receipts.")]));
    const actions = byId("job-actions");
    actions.replaceChildren();
    if (life.stage) actions.append(element("button", { type: "button", onclick: () => cancel(life.job_id) }, "Cancel this job…"));
    if (life.reason === "outcome_unknown") {
      actions.append(
        element("button", { type: "button", onclick: () => resolve(life.job_id, { decision: "submit_again" }, "It was not accepted: submit it again. If it was accepted after all, it is paid for twice.") }, "Submit again…"), " ",
        element("button", { type: "button", onclick: () => resolve(life.job_id, { decision: "give_up" }, "Give it up. It ends as cancelled, and whether it was charged stays unknown.") }, "Give up…"),
      );
    } else if (life.outcome === "failed" && life.task_id) {
      actions.append(element("button", { type: "button", onclick: () => resolve(life.job_id, { decision: "fetch" }, "Fetch the results of its task now, store and publish them.") }, "Fetch its results…"));
    }
    if (!dialog.open) dialog.showModal();
  } catch (error) {
    if (mine !== state.shown) return;
    byId("job-head").textContent = job;
    byId("job-facts").replaceChildren(element("dt", {}, "Not shown"), element("dd", {}, error.message));
    for (const id of ["job-images", "job-history", "job-actions"]) byId(id).replaceChildren();
    if (!dialog.open) dialog.showModal();
    if (error instanceof NotAllowed) askForToken();
  }
}

function momentOf(moment) {
  const { at, what, ...details } = moment;
  const words = Object.entries(details).map(([name, value]) => `${name.replaceAll("_", " ")}: ${value}`).join(", ");
  return element("li", {}, element("time", { datetime: at }, at.replace("T", " ").replace("Z", " UTC")), what.replaceAll("_", " "), words ? ` (${words})` : "");
}

// ---- What changes something --------------------------------------------------------------------

// Asks, and acts after a yes. What went wrong is said in the same place.
function confirmed(words, act) {
  const dialog = byId("confirm");
  // One thing at a time: the answer to it has to be seen first.
  if (state.acting) return dialog.open || dialog.showModal();
  byId("confirm-words").textContent = words;
  byId("confirm-trouble").textContent = "";
  byId("confirm-form").onsubmit = async (event) => {
    event.preventDefault();
    byId("confirm-yes").disabled = true;
    state.acting = true;
    try {
      await act();
      dialog.close();
    } catch (error) {
      byId("confirm-trouble").textContent = error.message;
      if (error instanceof NotAllowed) askForToken();
    } finally {
      state.acting = false;
      byId("confirm-yes").disabled = false;
    }
  };
  dialog.showModal();
  byId("confirm-no").focus();
}

const post = (path, body) => json(path, {
  method: "POST",
  headers: body ? { "Content-Type": "application/json" } : {},
  body: body ? JSON.stringify(body) : undefined,
});

function cancel(job) {
  confirmed(`Cancel ${job}? What the provider has accepted goes on there, and is charged.`, async () => {
    await post(`jobs/${encodeURIComponent(job)}/cancel`);
    await Promise.all([showJobs(), byId("job").open ? showJob(job) : null]);
  });
}

function resolve(job, decision, words) {
  confirmed(`${job}: ${words}`, async () => {
    await post(`jobs/${encodeURIComponent(job)}/resolve`, decision);
    await showJob(job);
  });
}

async function lookAtDead() {
  const button = byId("look-dead");
  button.disabled = true;
  try {
    const { letters } = await json("dead?limit=200");
    byId("dead-words").textContent = letters.length === 200 ? "The first 200 are shown." : `${letters.length} found.`;
    fill("dead", letters, 6, "There are none.", (letter) => row(
      cell(letter.key, "short"), cell(letter.reason ?? "(no reason)"),
      element("td", {}, letter.job_id ? jobLink(letter.job_id) : ""), letter.at ? agingCell(letter.at) : cell("?"),
      cell(letter.replays ? `${letter.detail ?? ""} (replayed ${letter.replays} times)` : letter.detail, "text"),
      element("td", { class: "short" }, element("button", { type: "button", "aria-label": `Replay ${letter.key}`, onclick: () => replay(letter) }, "Replay…")),
    ), (letter) => JSON.stringify(letter));
  } catch (error) {
    byId("dead-words").textContent = error.message;
    if (error instanceof NotAllowed) askForToken();
  } finally {
    button.disabled = false;
  }
}

function replay(letter) {
  confirmed(`Send ${letter.job_id ?? "the letter"} (${letter.reason ?? "no reason"}) to the workers again?`, async () => {
    await post(`dead/${encodeURIComponent(letter.key)}/replay`);
    await lookAtDead();
  });
}

// ---- The token ---------------------------------------------------------------------------------

function askForToken() {
  const dialog = byId("token-dialog");
  byId("token-trouble").textContent = "";
  if (!dialog.open) dialog.showModal();
}

byId("token").addEventListener("click", askForToken);
byId("token-close").addEventListener("click", () => byId("token-dialog").close());
byId("confirm-no").addEventListener("click", () => byId("confirm").close());
byId("token-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  state.token = byId("token-text").value.trim();
  byId("token-text").value = "";
  try {
    await json("hour");
    sessionStorage.setItem("comet-admin-token", state.token);
    byId("token-dialog").close();
    refresh();
  } catch (error) {
    state.token = "";
    sessionStorage.removeItem("comet-admin-token");
    byId("token-trouble").textContent = error.message;
  }
});

// ---- Live --------------------------------------------------------------------------------------

let asked = false;
function trouble(error) {
  say(error.message, true);
  // Once, not with every try.
  if (error instanceof NotAllowed && !asked) {
    asked = true;
    askForToken();
  }
}

// The worker sends something every two seconds.
const SILENCE_MAX_MS = 15000;

// Reads the stream of events. It is read by hand since a browser's own reader can't send the token, which must not be
// in a URL. Ends with the stream.
async function live() {
  const reply = await ask("live");
  if (!reply.ok) {
    const answer = await reply.json().catch(() => ({}));
    throw reply.status === 401 ? new NotAllowed(answer.error) : new Error(answer.error ?? `HTTP ${reply.status}`);
  }
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const next = await Promise.race([reader.read(), wait(SILENCE_MAX_MS)]);
    if (!next) {
      reader.cancel();
      throw new Error("no news from this worker: it hangs, or the way to it is cut");
    }
    const { done, value } = next;
    if (done) return;
    held += value;
    for (let end = held.indexOf("\n\n"); end >= 0; end = held.indexOf("\n\n")) {
      const lines = held.slice(0, end).split("\n");
      held = held.slice(end + 2);
      const of = (name) => lines.filter((line) => line.startsWith(`${name}: `)).map((line) => line.slice(name.length + 2)).join("\n");
      if (of("event") === "fleet") show(JSON.parse(of("data")));
      else if (of("event") === "trouble") say(of("data"), true);
    }
  }
}

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Where there is no stream, the state is asked for.
async function follow() {
  for (;;) {
    try {
      await live();
    } catch (error) {
      trouble(error);
      try {
        show(await json("fleet"));
      } catch {
        // What is wrong is said already.
      }
    }
    await wait(3000);
  }
}

function refresh() {
  showJobs();
  showHour();
  showSpend();
}

byId("find").addEventListener("submit", (event) => {
  event.preventDefault();
  showJob(byId("find-job").value.trim());
});
byId("look-dead").addEventListener("click", lookAtDead);
follow();
refresh();
setInterval(() => { if (!document.hidden) showJobs(); }, 4000);
setInterval(() => {
  if (document.hidden) return;
  showHour();
  showSpend();
}, 30000);
