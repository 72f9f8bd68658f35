// The page: takes pictures, sends one request for each, and shows the model's prediction beside it. The names of files and
// classes are not trusted, so they are only ever inserted as text.
"use strict";

const TOP_K = 5;
// Largest number of requests at a time; the server makes batches of them.
const MAX_ASKED = 4;
// Largest number of pictures on the page; the oldest are removed.
const MAX_SHOWN = 60;
// How often a picture is sent, in total, while the server is busy.
const MAX_TRIES = 5;
// Pictures of at most this width are enlarged without blur, in px.
const SMALL_PX = 64;

const by = (id) => document.getElementById(id);
let models = [];
let limits = null;
const waiting = [];
let nAsked = 0;
let nShots = 0;

function percent(share, digits) {
  return `${(100 * share).toFixed(digits)} %`;
}

function counted(n, noun, plural = `${noun}s`) {
  return `${n} ${n === 1 ? noun : plural}`;
}

function model() {
  return models[by("model").selectedIndex] ?? models[0];
}

function say(text) {
  by("status").textContent = text;
}

function warn(text) {
  by("message").textContent = text;
  by("message").hidden = text === "";
}

// Models

async function begin() {
  try {
    const told = await (await fetch("models")).json();
    models = told.models;
    limits = told.limits;
  } catch {
    warn("The server does not say which models it has: is it still running? Load the page again.");
    return;
  }
  for (const { name } of models) {
    by("model").append(new Option(name, name));
  }
  by("model").hidden = models.length < 2;
  by("only-model").hidden = models.length > 1;
  showModel();
  next();
}

function showModel() {
  const { name, classes, size_px, calibrated } = model();
  by("only-model").textContent = name;
  const [height, width] = size_px;
  const facts = [counted(classes.length, "class", "classes"), `${width} x ${height} pixels`];
  if (!calibrated) {
    facts.push("probabilities are not calibrated");
  }
  by("facts").textContent = facts.join(", ");
  by("facts").title = classes.slice(0, 50).join(", ");
  const address = new URL(`predict?model=${encodeURIComponent(name)}`, document.baseURI).href;
  by("curl").textContent = `curl --data-binary @cat.jpg '${address}'`;
}

// Pictures

function add(files) {
  warn("");
  const pictures = Array.from(files);
  if (pictures.length === 0) {
    warn("There was no file in that: drop or paste a picture.");
  }
  for (const file of pictures.slice(0, MAX_SHOWN)) {
    show(file);
  }
  if (pictures.length > MAX_SHOWN) {
    warn(`${MAX_SHOWN} of ${pictures.length} pictures are shown: ask about more from a program.`);
  }
  next();
}

function show(file) {
  const item = by("picture").content.firstElementChild.cloneNode(true);
  item.file = file;
  item.querySelector("h2").textContent = file.name;
  const image = item.querySelector("img");
  image.alt = file.name;
  image.addEventListener("load", () => image.classList.toggle("small", image.naturalWidth <= SMALL_PX));
  image.addEventListener("error", () => {
    const text = document.createElement("span");
    text.className = "muted";
    text.textContent = "This browser cannot show the picture";
    image.replaceWith(text);
  });
  image.src = URL.createObjectURL(file);
  item.address = image.src;
  by("pictures").prepend(item);
  while (by("pictures").childElementCount > MAX_SHOWN) {
    remove(by("pictures").lastElementChild);
  }
  by("clear").hidden = false;
  waiting.push(item);
}

function remove(item) {
  URL.revokeObjectURL(item.address);
  item.remove();
}

// Sends the waiting pictures, a few at a time, and shows how many are left.
function next() {
  while (models.length > 0 && nAsked < MAX_ASKED && waiting.length > 0) {
    const item = waiting.shift();
    if (!item.isConnected) {
      continue;
    }
    nAsked += 1;
    ask(item).finally(() => {
      nAsked -= 1;
      next();
    });
  }
  const n = waiting.length + nAsked;
  const nDone = by("pictures").childElementCount - n;
  say(n > 0 ? `${counted(n, "picture")} to look at` : nDone > 0 ? `${counted(nDone, "picture")} looked at` : "");
}

async function ask(item) {
  const asked = model();
  item.asked = asked;
  const told = await answer(item.file, asked);
  if (item.asked === asked && item.isConnected) {
    tell(item, told);
  }
}

// Returns the server's answer about a file, or an object whose `error` is a message.
async function answer(file, { name }) {
  if (file.size > limits.max_body_bytes) {
    const megabytes = Math.floor(limits.max_body_bytes / 1048576);
    return { error: `The file is too long: at most ${megabytes} MB are taken.` };
  }
  const type = file.type.startsWith("image/") ? file.type : "application/octet-stream";
  const address = `predict?model=${encodeURIComponent(name)}&top_k=${TOP_K}`;
  for (let tries = 1; ; tries += 1) {
    let response, told;
    try {
      response = await fetch(address, { method: "POST", headers: { "Content-Type": type }, body: file });
      told = await response.json();
    } catch {
      return { error: "The server does not answer: is it still running?" };
    }
    if (response.ok) {
      return told.pictures[0];
    }
    if (response.status !== 503 || tries === MAX_TRIES) {
      return { error: told.error };
    }
    const secs = Number(response.headers.get("Retry-After")) || 1;
    await new Promise((resolve) => setTimeout(resolve, 1000 * Math.min(secs, 10)));
  }
}

function tell(item, told) {
  item.querySelector(".waiting").hidden = true;
  const error = item.querySelector(".error");
  error.hidden = told.error === undefined;
  error.textContent = told.error ?? "";
  item.querySelector(".bars").replaceChildren(...(told.predictions ?? []).map(bar));
  const isNovel = told.none_of_these === true;
  item.classList.toggle("novel-picture", isNovel);
  const novel = item.querySelector(".novel");
  novel.hidden = !isNovel;
  const usual = item.querySelector(".usual");
  usual.hidden = isNovel || typeof told.typicality !== "number";
  if (typeof told.typicality === "number") {
    const share = told.typicality < 0.01 ? "Less than 1 %" : percent(told.typicality, 0);
    novel.textContent =
      `None of these? ${share} of the pictures that the model knows are as unlike the training pictures as this one.`;
    usual.textContent = `How usual it is: ${share} of the pictures that the model knows are at least as unlike the training pictures.`;
  }
  const nearest = item.querySelector(".nearest");
  nearest.hidden = !told.nearest?.length;
  nearest.querySelector("ul").replaceChildren(...(told.nearest ?? []).map(neighbour));
}

function bar({ class: name, probability }) {
  const [item, label, track, fill, number] = ["li", "span", "span", "span", "span"].map((tag) =>
    document.createElement(tag),
  );
  label.className = "class";
  label.textContent = name;
  track.className = "track";
  track.setAttribute("aria-hidden", "true");
  fill.className = "bar";
  fill.style.display = track.style.display = "block";
  fill.style.width = `${100 * probability}%`;
  track.append(fill);
  number.className = "percent";
  number.textContent = percent(probability, 1);
  item.append(label, track, number);
  return item;
}

function neighbour({ class: name, file, similarity, picture }) {
  const [item, image, label, number] = ["li", "img", "span", "small"].map((tag) => document.createElement(tag));
  image.alt = file ?? `a training picture of ${name}`;
  image.title = file ?? "";
  image.addEventListener("load", () => image.classList.toggle("small", image.naturalWidth <= SMALL_PX));
  image.src = picture;
  label.textContent = name;
  number.textContent = `similarity ${similarity.toFixed(2)}`;
  item.append(image, label, number);
  return item;
}

// Asks the newly chosen model about all pictures on the page.
function switchModel() {
  showModel();
  waiting.length = 0;
  for (const item of by("pictures").children) {
    item.asked = null;
    waiting.push(item);
  }
  next();
}

// The camera

function closeCamera() {
  const video = by("video");
  for (const track of video.srcObject?.getTracks() ?? []) {
    track.stop();
  }
  video.srcObject = null;
  by("viewfinder").hidden = true;
  by("camera").setAttribute("aria-expanded", "false");
}

async function openCamera() {
  warn("");
  if (!navigator.mediaDevices?.getUserMedia) {
    warn("The camera cannot be used: browsers give it to pages of this machine (http://localhost) or over https only.");
    return;
  }
  try {
    by("video").srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch (error) {
    const why = {
      NotAllowedError: "The browser was told not to give the camera to this page.",
      NotFoundError: "There is no camera.",
      NotReadableError: "The camera is in use by another program.",
    };
    warn(why[error.name] ?? `The camera cannot be used: ${error.message}`);
    return;
  }
  by("viewfinder").hidden = false;
  by("camera").setAttribute("aria-expanded", "true");
  by("shoot").focus();
}

function shoot() {
  const video = by("video");
  if (video.videoWidth === 0) {
    return; // the video has not started yet
  }
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob((blob) => {
    nShots += 1;
    add([new File([blob], `camera-${nShots}.jpg`, { type: "image/jpeg" })]);
  }, "image/jpeg", 0.95);
}

// Events

by("model").addEventListener("change", switchModel);
by("files").addEventListener("change", (event) => {
  add(event.target.files);
  event.target.value = ""; // so that the same file can be chosen again
});
by("camera").addEventListener("click", () => (by("viewfinder").hidden ? openCamera() : closeCamera()));
by("shoot").addEventListener("click", shoot);
by("close").addEventListener("click", () => {
  closeCamera();
  by("camera").focus();
});
by("clear").addEventListener("click", () => {
  waiting.length = 0;
  Array.from(by("pictures").children).forEach(remove);
  by("clear").hidden = true;
  by("files").focus();
  next();
});
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  by("drop").classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) {
    by("drop").classList.remove("over");
  }
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  by("drop").classList.remove("over");
  add(event.dataTransfer.files);
});
document.addEventListener("paste", (event) => {
  if (event.clipboardData.files.length > 0) {
    event.preventDefault();
    add(event.clipboardData.files);
  }
});
window.addEventListener("pagehide", closeCamera);
begin();
