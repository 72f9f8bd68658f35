// The page: takes pictures, and shows the model's prediction beside each. onnxruntime-web computes in this browser. The names of
// files and classes are not trusted, so they are only ever inserted as text.
"use strict";

const TOP_K = 5;
// Largest number of pictures on the page; the oldest are removed.
const MAX_SHOWN = 60;
// Pictures of at most this width are enlarged without blur, in px.
const SMALL_PX = 64;
// Longest side of a picture that is read in its own size, in px. Larger pictures are shrunk to this size first.
const MAX_SIDE_PX = 8192;

const by = (id) => document.getElementById(id);
const waiting = [];
let about = null;
let session = null;
let isBusy = false;

function warn(text) {
  by("message").textContent = text;
  by("message").hidden = text === "";
}

async function begin() {
  try {
    about = await (await fetch("model.json")).json();
  } catch {
    warn("The page cannot read model.json. Serve the folder over HTTP: README.txt says how.");
    by("status").textContent = "";
    return;
  }
  by("model").textContent = about.name;
  const [height, width] = about.preprocess.size_px;
  const facts = [`${about.classes.length} classes`, `${width} x ${height} pixels`];
  if (!about.calibrated) {
    facts.push("probabilities are not calibrated");
  }
  by("facts").textContent = facts.join(", ");
  if (typeof ort === "undefined") {
    warn("onnxruntime-web is missing: put its files into the folder ort, as README.txt says.");
    by("status").textContent = "";
    return;
  }
  try {
    ort.env.wasm.wasmPaths = new URL("ort/", document.baseURI).href;
    session = await ort.InferenceSession.create("model.onnx", { executionProviders: ["wasm"] });
  } catch (error) {
    warn(`The model cannot be loaded: ${error.message}`);
    by("status").textContent = "";
    return;
  }
  by("status").textContent = "";
  next();
}

function add(files) {
  warn("");
  for (const file of Array.from(files).slice(0, MAX_SHOWN)) {
    const item = by("picture").content.firstElementChild.cloneNode(true);
    item.file = file;
    item.querySelector("h2").textContent = file.name;
    const image = item.querySelector("img");
    image.alt = file.name;
    image.addEventListener("load", () => image.classList.toggle("small", image.naturalWidth <= SMALL_PX));
    image.src = URL.createObjectURL(file);
    by("pictures").prepend(item);
    waiting.push(item);
  }
  while (by("pictures").childElementCount > MAX_SHOWN) {
    URL.revokeObjectURL(by("pictures").lastElementChild.querySelector("img").src);
    by("pictures").lastElementChild.remove();
  }
  by("clear").hidden = by("pictures").childElementCount === 0;
  next();
}

// Returns the picture as RGBA bytes, upright and on white.
async function pixels(file) {
  const options = { imageOrientation: "from-image", colorSpaceConversion: "none" };
  const bitmap = await createImageBitmap(file, options);
  const shrink = Math.max(1, Math.max(bitmap.width, bitmap.height) / MAX_SIDE_PX);
  const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.floor(side / shrink)));
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  return { data: context.getImageData(0, 0, width, height).data, height, width };
}

async function next() {
  if (session === null || isBusy || waiting.length === 0) {
    return;
  }
  isBusy = true;
  const item = waiting.shift();
  try {
    const { data, height, width } = await pixels(item.file);
    const [rows, columns] = about.preprocess.size_px;
    const images = new ort.Tensor("uint8", fitted(data, height, width, about.preprocess), [1, rows, columns, 3]);
    const { probabilities } = await session.run({ images });
    show(item, Array.from(probabilities.data));
  } catch (error) {
    item.querySelector(".error").textContent = `This picture has no answer: ${error.message}`;
    item.querySelector(".error").hidden = false;
  }
  item.querySelector(".waiting").hidden = true;
  isBusy = false;
  next();
}

function show(item, probabilities) {
  const order = probabilities.map((_, i) => i).sort((a, b) => probabilities[b] - probabilities[a] || a - b);
  for (const i of order.slice(0, TOP_K)) {
    const row = document.createElement("li");
    const [name, track, bar, percent] = ["span", "div", "div", "span"].map((kind) => document.createElement(kind));
    [name.className, track.className, bar.className, percent.className] = ["class", "track", "bar", "percent"];
    name.textContent = about.classes[i];
    bar.style.width = `${100 * probabilities[i]}%`;
    percent.textContent = `${(100 * probabilities[i]).toFixed(1)} %`;
    track.append(bar);
    row.append(name, track, percent);
    item.querySelector(".bars").append(row);
  }
  by("status").textContent = `${item.file.name}: ${about.classes[order[0]]}`;
}

by("files").addEventListener("change", ({ target }) => {
  add(target.files);
  target.value = "";
});
by("clear").addEventListener("click", () => {
  waiting.length = 0;
  by("pictures").replaceChildren();
  by("clear").hidden = true;
  by("status").textContent = "";
});
for (const name of ["dragover", "drop", "dragleave"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    by("drop").classList.toggle("over", name === "dragover");
    if (name === "drop") {
      add(event.dataTransfer.files);
    }
  });
}
document.addEventListener("paste", ({ clipboardData }) => {
  if (clipboardData.files.length > 0) {
    add(clipboardData.files);
  }
});
begin();
