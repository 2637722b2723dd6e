// Sends photos to the REST API of the server that this page comes from, and shows the answers.

const LONGEST_SIDE = 512; // pixels; the model looks at 224 x 224
const JPEG_QUALITY = 0.92;
const MOST_RESULTS = 50; // on the page: each holds a photo
const TIMEOUT = 60_000; // milliseconds

const drop = document.getElementById("drop");
const results = document.getElementById("results");
const status = document.getElementById("status");
const model = document.getElementById("model");

class Problem extends Error {} // what to tell the user, in words

async function listModels() {
  const response = await fetch("models.json");
  for (const name of await response.json()) model.add(new Option(name, name));
  document.getElementById("model-choice").hidden = model.options.length < 2;
}

async function shrink(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    throw new Problem("The browser cannot read this file as a photo. Try a JPEG or a PNG.");
  }
  const scale = Math.min(1, LONGEST_SIDE / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
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

async function ask(jpeg) {
  const body = JSON.stringify({ instances: [{ b64: await toBase64(jpeg) }] });
  const started = performance.now();
  let response;
  let answer;
  try {
    response = await fetch(`v1/models/${encodeURIComponent(model.value)}:predict`, {
      method: "POST",
      body,
      signal: AbortSignal.timeout(TIMEOUT),
    });
    answer = await response.json();
  } catch (error) {
    if (error.name === "TimeoutError") throw new Problem("The server takes too long. Try again.");
    if (response) throw new Problem("The server gave an answer that makes no sense.");
    throw new Problem("The server cannot be reached. Is it still running?");
  }
  const milliseconds = performance.now() - started;
  if (response.status === 404) throw new Problem("The model is not ready yet. Try again in a moment.");
  if (response.status === 503) throw new Problem("The server is busy. Try again in a moment.");
  if (!response.ok) throw new Problem(`The server refuses the photo: ${answer.error}`);
  const prediction = answer.predictions[0];
  if (!prediction.labels || !prediction.probabilities) {
    throw new Problem("This model does not recognise emotions in photos.");
  }
  return { ...prediction, milliseconds };
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

function showAnswer(item, name, { label, labels, probabilities, milliseconds }) {
  const heading = item.querySelector("h2");
  heading.hidden = false;
  heading.textContent = label;
  item.querySelector(".message").remove();
  const rows = item.querySelector("tbody");
  labels.forEach((emotion, index) => {
    const probability = probabilities[index];
    const percent = `${Math.round(probability * 100)} %`;
    const row = rows.insertRow();
    row.className = emotion === label ? "best" : "";
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
  item.querySelector(".details").textContent = `${name} · ${Math.round(milliseconds)} ms`;
  const best = Math.round(Math.max(...probabilities) * 100);
  status.textContent = `${name}: ${label}, ${best} percent`;
}

function showProblem(item, name, error) {
  const words = error instanceof Problem ? error.message : `Something went wrong: ${error.message}`;
  item.classList.add("failed");
  item.querySelector(".message").textContent = words;
  item.querySelector("table").remove();
  status.textContent = `${name}: ${words}`;
}

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
        showAnswer(item, name, await ask(jpeg));
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

document.addEventListener("paste", (event) => take(event.clipboardData.files));

listModels().catch(() => {
  status.textContent = "The server cannot be reached.";
});
