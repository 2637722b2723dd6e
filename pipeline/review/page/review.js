// The review page: one photo at a time, one key for a decision. The server's table is what counts;
// this page holds no decision of its own.

const element = (id) => document.getElementById(id);
const settings = JSON.parse(document.querySelector("main").dataset.settings);
const POLL_MS = 1500;
const COMMAND_KEYS = {
  " ": "right", Enter: "right", x: "leave-out", u: "undo", o: "reason", v: "earlier",
  ArrowLeft: "back", ArrowRight: "forward",
};

let decided = new Map(); // position -> {position, to, reason, earlier}, the latest last
let position = null;
let item = null;
let busy = false;
const items = new Map();

const source = (at) => `photos/${at}?list=${settings.list}`;

async function request(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    const message = "The server cannot be reached, and nothing was stored. Start the review again.";
    throw Object.assign(new Error(message), { lost: true });
  }
  const body = await response.json();
  if (!response.ok) throw Object.assign(new Error(body.error), { status: response.status });
  return body;
}

let lost = false; // whether what is complained of is over once the server answers again

function complain(error) {
  lost = Boolean(error?.lost);
  element("error").textContent = error?.message ?? "";
  element("error").hidden = !error;
}

function take(state) {
  if (state.list !== settings.list) location.reload(); // started anew: other photos, another order
  decided = new Map(state.decided.map((each) => [each.position, each]));
}

async function poll() {
  try {
    if (!busy) {
      const state = await request("state");
      if (!busy) {
        const before = JSON.stringify([...decided.values()]);
        take(state);
        if (lost) complain(null);
        if (before !== JSON.stringify([...decided.values()])) draw();
      }
    }
  } catch (error) {
    complain(error);
  }
  setTimeout(poll, POLL_MS);
}

function load(at) {
  if (!items.has(at)) {
    const loading = request(`items/${at}?list=${settings.list}`);
    loading.catch(() => items.delete(at));
    items.set(at, loading);
  }
  return items.get(at);
}

function isShown(at) {
  return at === position || element("earlier").checked || !decided.get(at)?.earlier;
}

function step(direction) {
  for (let at = position + direction; at >= 0 && at < settings.total; at += direction) {
    if (isShown(at)) return at;
  }
  return position;
}

function nextUndecided() {
  const from = position ?? -1;
  for (let count = 1; count <= settings.total; count += 1) {
    const at = (from + count) % settings.total;
    if (!decided.has(at)) return at;
  }
  return null;
}

async function show(at) {
  position = at;
  if (at === null) {
    item = null;
    draw();
    return;
  }
  item = await load(at);
  draw();
  const next = nextUndecided();
  if (next !== null) {
    load(next).then((coming) => {
      for (const each of [{ position: next }, ...coming.copies.slice(0, 4), ...coming.same, ...coming.others]) {
        new Image().src = source(each.position);
      }
    }, () => {});
  }
}

function labelOf(at, label) {
  return decided.has(at) ? decided.get(at).to : label;
}

function draw() {
  const mine = [...decided.values()].filter((each) => !each.earlier).length;
  const left = settings.total - decided.size;
  element("counts").textContent =
    `${mine.toLocaleString("en")} decided now, ${left.toLocaleString("en")} left`;
  element("progress").value = decided.size;
  element("done").hidden = item !== null;
  element("item").hidden = element("near").hidden = item === null;
  element("alike").hidden = !item?.copies.length;
  if (item === null) return;

  const label = labelOf(position, item.label);
  setPhoto(element("photo"), position, item.name);
  element("name").textContent = `${item.name} · number ${(position + 1).toLocaleString("en")}`;
  element("question").replaceChildren(
    "It is labelled ", Object.assign(document.createElement("strong"), { textContent: item.label }),
  );
  element("conflict").hidden = !item.conflict;
  element("conflict").textContent = item.conflict && `Not used: ${item.conflict}`;
  const decision = decided.get(position);
  element("decision").hidden = !decision;
  element("decision").textContent = decision ? describe(decision) : "";
  for (const button of document.querySelectorAll(".class")) {
    const name = button.dataset.label;
    const share = item.probabilities[[...document.querySelectorAll(".class")].indexOf(button)];
    button.classList.toggle("current", name === label);
    button.querySelector("progress").value = share;
    button.querySelector("progress").ariaLabel = `${name}: ${Math.round(share * 100)} %`;
    button.querySelector(".percent").textContent = `${Math.round(share * 100)} %`;
  }
  element("same-heading").textContent = `Nearest photos labelled ${item.label}`;
  drawPhotos(element("copies"), item.copies);
  drawPhotos(element("same"), item.same);
  drawPhotos(element("others"), item.others);
}

function describe({ to, reason }) {
  const said = to === "" ? "Left out" : to === item.label ? `Right: ${to}` : `Changed to ${to}`;
  return reason ? `${said} (${reason})` : said;
}

function setPhoto(image, at, name) {
  image.alt = name;
  if (image.getAttribute("src") !== source(at)) image.src = source(at);
}

function drawPhotos(list, photos) {
  list.replaceChildren(...photos.map((each) => {
    const entry = document.createElement("li");
    const image = document.createElement("img");
    image.loading = "lazy"; // of copies there may be many
    const label = labelOf(each.position, each.label) || "left out";
    setPhoto(image, each.position, `a photo labelled ${label}`);
    entry.append(image, Object.assign(document.createElement("span"), { textContent: label }));
    return entry;
  }));
}

async function send(at, to, reason) {
  const seen = decided.get(at)?.to ?? null;
  try {
    take(await request("answers", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ list: settings.list, position: at, seen, to, reason }),
    }));
  } catch (error) {
    if (error.status === 409) take(await request("state"));
    throw error;
  }
}

async function decide(to) {
  if (item === null) return;
  const at = position;
  await send(at, to, element("reason").value.trim());
  element("reason").value = "";
  element("status").textContent = `${item.name}: ${describe(decided.get(at))}`;
  await show(nextUndecided());
}

async function undo() {
  const last = [...decided.values()].filter((each) => !each.earlier).at(-1)?.position;
  const at = decided.has(position) ? position : last;
  if (at === undefined) return;
  await send(at, null, "");
  items.clear(); // its label, and that of its copies, is again that of the folder
  await show(at);
  element("status").textContent = `${item.name}: undone, it is labelled ${item.label}`;
}

const commands = {
  right: () => decide(labelOf(position, item?.label) || item?.label),
  "leave-out": () => decide(""),
  undo,
  back: () => show(position === null ? settings.total - 1 : step(-1)),
  forward: () => show(position === null ? null : step(1)),
  reason: () => element("reason").focus(),
  earlier: () => element("earlier").click(),
};

async function act(action) {
  if (busy) return; // what is on its way has to be on the disk before the next photo is judged
  busy = true;
  try {
    await action();
    complain(null);
  } catch (error) {
    complain(error);
    draw();
  } finally {
    busy = false;
  }
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target === element("reason")) {
    if (event.key === "Enter" || event.key === "Escape") {
      if (event.key === "Escape") element("reason").value = "";
      event.preventDefault();
      element("reason").blur();
    }
    return;
  }
  const natively = event.key === " " || event.key === "Enter";
  if (natively && event.target.closest("button, input")) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const command = COMMAND_KEYS[key];
  if (!command && !(key in settings.keys)) return;
  event.preventDefault();
  if (event.repeat && !key.startsWith("Arrow")) return; // a key held down decides one photo
  act(command ? commands[command] : () => decide(settings.keys[key]));
});

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (event.detail) button.blur(); // clicked, not chosen by keyboard: space is for the next photo
  const { command, label } = button.dataset;
  act(command ? commands[command] : () => decide(label));
});

element("earlier").addEventListener("change", () => element("earlier").blur());
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) request("state").then(take).then(draw, complain);
});

act(async () => {
  take(await request("state"));
  await show(nextUndecided());
}).then(() => setTimeout(poll, POLL_MS));
