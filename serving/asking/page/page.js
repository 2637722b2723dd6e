// Sends photos to the REST API of the server that this page comes from, and shows the answers.

const LONGEST_SIDE = 512; // pixels; the model looks at 224 x 224
const JPEG_QUALITY = 0.92;
const MOST_RESULTS = 50; // on the page: each holds a photo
const TIMEOUT = 60_000; // milliseconds
const SUBJECT_THRESHOLD = 0.5; // models scale their score so
const HEAT = [213, 94, 0]; // and --heat
const MOST_HEAT = 0.75; // opacity
const UNSEEN = 0.3; // opacity of what the model does not see

const drop = document.getElementById("drop");
const results = document.getElementById("results");
const status = document.getElementById("status");
const model = document.getElementById("model");

class Problem extends Error {} // what to tell the user, in words

async function listModels() {
  const response = await fetch("models.json");
  for (const [name, labels] of Object.entries(await response.json())) {
    const path = `v1/models/${encodeURIComponent(name)}`;
    const options = [
      new Option(name, path),
      ...labels.map((label) => new Option(`${name}, ${label}`, `${path}/labels/${encodeURIComponent(label)}`)),
    ];
    for (const option of options) {
      option.dataset.model = name;
      model.add(option);
    }
  }
  document.getElementById("model-choice").hidden = model.options.length < 2;
}

async function modelsListed() {
  try {
    await listed;
  } catch {
    throw new Problem("The server cannot be reached. Is it still running?");
  }
}

async function takesFeedback() {
  const response = await fetch("endpoints.json");
  return (await response.json()).includes("feedback");
}

async function shrink(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    throw new Problem("The browser cannot read this file as a photo. Try a JPEG or a PNG.");
  }
  const scale = Math.min(1, LONGEST_SIDE / Math.max(bitmap.width, bitmap.height));
  const canvas = makeCanvas(
    Math.max(1, Math.round(bitmap.width * scale)),
    Math.max(1, Math.round(bitmap.height * scale)),
  );
  const context = canvas.getContext("2d");
  context.fillStyle = "white"; // behind what is transparent
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", JPEG_QUALITY));
}

function toBase64(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

async function send(path, content) {
  let response;
  try {
    response = await fetch(path, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(content),
      signal: AbortSignal.timeout(TIMEOUT),
    });
    return { response, answer: await response.json() };
  } catch (error) {
    if (error.name === "TimeoutError") throw new Problem("The server takes too long. Try again.");
    if (response) throw new Problem("The server gave an answer that makes no sense.");
    throw new Problem("The server cannot be reached. Is it still running?");
  }
}

// `path` is that of the model, or of one of its labels, as the REST API has it.
async function ask(path, jpeg, signature = {}) {
  const instances = [{ b64: await toBase64(jpeg) }];
  const { response, answer } = await send(`${path}:predict`, { ...signature, instances });
  if (response.status === 404) throw new Problem("The model is not ready yet. Try again in a moment.");
  if (response.status === 503) throw new Problem("The server is busy. Try again in a moment.");
  if (!response.ok) throw new Problem(`The server refuses the photo: ${answer.error}`);
  return answer.predictions[0];
}

async function askForEmotion(path, jpeg) {
  const started = performance.now();
  const prediction = await ask(path, jpeg);
  const milliseconds = performance.now() - started;
  if (!prediction.labels || !prediction.probabilities) {
    throw new Problem("This model does not recognise emotions in photos.");
  }
  return { ...prediction, milliseconds };
}

async function canExplain(path) {
  const response = await fetch(`${path}/metadata`);
  const { metadata } = await response.json();
  return "explain" in metadata.signature_def.signature_def;
}

function makeResult(name) {
  const item = document.getElementById("result").content.cloneNode(true).firstElementChild;
  item.querySelector(".message").textContent = "Looking at the photo …";
  item.querySelector(".details").textContent = name;
  item.querySelector("h2").hidden = true;
  return item;
}

function addResults(items) {
  results.prepend(...items);
  while (results.children.length > MOST_RESULTS) {
    URL.revokeObjectURL(results.lastElementChild.querySelector("img").src);
    results.lastElementChild.remove();
  }
}

function inWords({ label, certain, dog }) {
  if (dog < SUBJECT_THRESHOLD) {
    return { heading: "no dog here", remark: "Without a dog, the figures below mean little." };
  }
  if (certain === false) {
    return {
      heading: "not sure",
      remark: `The likeliest is ${label}, but answers like this have not been shown to be right often enough.`,
    };
  }
  return { heading: label, remark: "" };
}

function showAnswer(item, name, by, prediction) {
  const { labels, probabilities, milliseconds } = prediction;
  const { heading, remark } = inWords(prediction);
  const title = item.querySelector("h2");
  title.hidden = false;
  title.textContent = heading;
  const message = item.querySelector(".message");
  message.textContent = remark;
  message.hidden = !remark;
  const rows = item.querySelector("tbody");
  labels.forEach((emotion, index) => {
    const probability = probabilities[index];
    const percent = `${Math.round(probability * 100)} %`;
    const row = rows.insertRow();
    row.className = emotion === heading ? "best" : "";
    const head = document.createElement("th");
    head.scope = "row";
    head.textContent = emotion;
    const bar = document.createElement("progress");
    bar.max = 1;
    bar.value = probability;
    bar.setAttribute("aria-hidden", "true"); // the number beside it says the same
    row.append(head);
    row.insertCell().append(bar);
    row.insertCell().textContent = percent;
  });
  item.querySelector(".details").textContent = `${by} · ${Math.round(milliseconds)} ms`;
  const best = Math.round(Math.max(...probabilities) * 100);
  status.textContent = remark ? `${name}: ${heading}. ${remark}` : `${name}: ${heading}, ${best} percent`;
}

function offerWhy(item, path, jpeg) {
  const button = item.querySelector(".why button");
  const figure = item.querySelector("figure");
  const words = figure.querySelector(".words");
  let drawn; // asked for once, when somebody wants to see it
  let speaks = false;
  const pressed = () => button.getAttribute("aria-pressed") === "true";
  button.addEventListener("click", async () => {
    button.setAttribute("aria-pressed", String(!pressed()));
    if (pressed()) {
      button.setAttribute("aria-busy", "true");
      drawn ??= ask(path, jpeg, { signature_name: "explain" }).then((why) => drawWhy(item, why));
      try {
        speaks = await drawn;
      } catch (error) {
        drawn = undefined;
        words.textContent = inOurWords(error);
      }
      button.setAttribute("aria-busy", "false");
      if (pressed()) status.textContent = words.textContent;
    }
    figure.hidden = !pressed();
    figure.querySelector("canvas").hidden = !drawn;
    figure.querySelector(".scale").hidden = !drawn || !speaks;
    item.querySelector("img").hidden = pressed() && drawn !== undefined;
    item.classList.toggle("explained", pressed() && drawn !== undefined);
  });
  item.querySelector(".why").hidden = false;
}

async function sendFeedback(name, jpeg, probabilities, correction) {
  const photo = { b64: await toBase64(jpeg) };
  const { response, answer } = await send("feedback", { model: name, photo, probabilities, correction });
  if (response.status === 409) throw new Problem("The server no longer remembers its answer. Add the photo again.");
  if (response.status === 503) throw new Problem("The server is busy. Try again in a moment.");
  if (response.status === 507) throw new Problem("Not kept: the server has no room for more photos.");
  if (!response.ok) throw new Problem(`Not kept: ${answer.error}`);
}

function offerFeedback(item, modelName, jpeg, { labels, label, probabilities }) {
  const kept = item.querySelector(".kept");
  const buttons = labels.map((emotion, index) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: emotion });
    button.setAttribute("aria-pressed", "false");
    if (index < 9) {
      const key = Object.assign(document.createElement("kbd"), { textContent: index + 1, ariaHidden: "true" });
      button.setAttribute("aria-keyshortcuts", key.textContent);
      button.append(key);
    }
    button.addEventListener("click", () => choose(button, emotion));
    return button;
  });
  async function choose(button, emotion) {
    if (buttons.some((each) => each.ariaBusy === "true")) return; // the last one that is sent counts
    button.ariaBusy = "true";
    let words = emotion === label ? `Kept: ${emotion} is right.` : `Kept: it is ${emotion}, not ${label}.`;
    try {
      await sendFeedback(modelName, jpeg, probabilities, emotion);
      for (const each of buttons) each.setAttribute("aria-pressed", String(each === button));
      kept.classList.remove("failed");
    } catch (error) {
      words = inOurWords(error);
      kept.classList.add("failed");
    }
    button.ariaBusy = "false";
    kept.textContent = status.textContent = words;
    kept.hidden = false;
  }
  item.querySelector(".choices").append(...buttons);
  item.querySelector(".feedback").hidden = false;
}

// Returns whether anything speaks for the class.
function drawWhy(item, { label, map }) {
  const image = item.querySelector("img");
  const { naturalWidth: width, naturalHeight: height } = image;
  const side = Math.min(width, height); // the model sees the centred square
  const left = Math.floor((width - side) / 2);
  const top = Math.floor((height - side) / 2);
  const canvas = Object.assign(item.querySelector("canvas"), { width, height });
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  context.globalCompositeOperation = "saturation";
  context.fillRect(0, 0, width, height); // black has none: the photo becomes grey
  context.globalCompositeOperation = "destination-out";
  context.globalAlpha = 1 - UNSEEN;
  const unseen = width > height
    ? [[0, 0, left, height], [left + side, 0, width - left - side, height]]
    : [[0, 0, width, top], [0, top + side, width, height - top - side]];
  for (const rectangle of unseen) context.fillRect(...rectangle);
  context.globalCompositeOperation = "source-over";
  context.globalAlpha = 1;
  context.drawImage(heat(map, side), left, top, side, side);
  const most = Math.max(...map.flat());
  let words = `Nothing in the photo speaks for ${label}.`;
  if (most > 0) words = `What speaks for ${label}: strongest ${place(map, most)}.`;
  if (width !== height) words += " The model does not see the faded edges.";
  canvas.setAttribute("aria-label", words);
  item.querySelector(".words").textContent = words;
  return most > 0;
}

function makeCanvas(width, height) {
  return Object.assign(document.createElement("canvas"), { width, height });
}

// What speaks for the class, as a picture of at least `side` pixels.
function heat(map, side) {
  const most = Math.max(...map.flat());
  let picture = makeCanvas(map[0].length, map.length);
  const pixels = map.flat().flatMap((value) => [...HEAT, 255 * MOST_HEAT * Math.max(value, 0) / (most || 1)]);
  const data = new ImageData(Uint8ClampedArray.from(pixels), picture.width);
  picture.getContext("2d").putImageData(data, 0, 0);
  while (Math.min(picture.width, picture.height) < side) {
    // Twice as large each time: one step would show the corners of the map's squares.
    const larger = makeCanvas(2 * picture.width, 2 * picture.height);
    larger.getContext("2d").drawImage(picture, 0, 0, larger.width, larger.height);
    picture = larger;
  }
  return picture;
}

// Where in the square the most is, in words.
function place(map, most) {
  const row = map.findIndex((values) => values.includes(most));
  const third = (index, length) => Math.floor(((index + 0.5) / length) * 3) - 1;
  const down = third(row, map.length);
  const right = third(map[row].indexOf(most), map[row].length);
  if (!down && !right) return "in the middle";
  if (!down) return right < 0 ? "on the left" : "on the right";
  if (!right) return down < 0 ? "at the top" : "at the bottom";
  return `at the ${down < 0 ? "upper" : "lower"} ${right < 0 ? "left" : "right"}`;
}

function inOurWords(error) {
  return error instanceof Problem ? error.message : `Something went wrong: ${error.message}`;
}

function showProblem(item, name, error) {
  const words = inOurWords(error);
  item.classList.add("failed");
  item.querySelector(".message").textContent = words;
  item.querySelector("table").remove();
  status.textContent = `${name}: ${words}`;
}

const listed = listModels();
const asksBack = takesFeedback().catch(() => false); // what is wrong, the answer says
let queue = Promise.resolve(); // one photo after the other, in their order

function take(files) {
  const photos = Array.from(files, (file) => {
    const name = file.name || "pasted photo";
    return { file, name, item: makeResult(name) };
  });
  addResults(photos.map((photo) => photo.item));
  for (const { file, name, item } of photos) {
    queue = queue.then(async () => {
      try {
        const jpeg = await shrink(file);
        const image = item.querySelector("img");
        image.src = URL.createObjectURL(jpeg);
        image.alt = name;
        await modelsListed();
        const path = model.value;
        const asked = model.selectedOptions[0];
        const by = model.options.length > 1 ? `${name} · ${asked.text}` : name;
        const explains = canExplain(path).catch(() => false); // what is wrong, the answer says
        const answer = await askForEmotion(path, jpeg);
        showAnswer(item, name, by, answer);
        if (await asksBack) offerFeedback(item, asked.dataset.model, jpeg, answer);
        if (await explains) offerWhy(item, path, jpeg);
      } catch (error) {
        showProblem(item, name, error);
      }
    });
  }
}

for (const id of ["choose", "camera"]) {
  document.getElementById(id).addEventListener("change", (event) => {
    take(event.target.files);
    event.target.value = ""; // the same photo can be chosen again
  });
}

for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault(); // anywhere: the browser would leave the page for the photo
    drop.classList.toggle("over", kind === "dragover");
    if (kind === "drop") take(event.dataTransfer.files);
  });
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.repeat || event.target === model) return; // letters choose among models
  const item = document.activeElement.closest(".result") ?? results.firstElementChild; // the newest
  if (event.key.toLowerCase() === "m") item?.querySelector(".why:not([hidden]) button")?.click();
  if (/^[1-9]$/.test(event.key)) {
    item?.querySelector(`.feedback:not([hidden]) [aria-keyshortcuts="${event.key}"]`)?.click();
  }
});

document.addEventListener("paste", (event) => take(event.clipboardData.files));

listed.catch(() => {
  status.textContent = "The server cannot be reached.";
});
