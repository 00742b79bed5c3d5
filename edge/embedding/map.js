"use strict";
// Text of the data only ever becomes textContent, and pictures only come from data: URLs.
const data = JSON.parse(document.getElementById("data").textContent);
const canvas = document.getElementById("canvas");
const context = canvas.getContext("2d");
const tip = document.getElementById("tip");
const count = data.paths.length;
const hidden = new Set();
let method = "tsne", dimensions = 2, pictures = false, picked = -1;
let yaw, pitch, zoom, panX, panY, drawn = [];

function element(tag, text, parent, attributes = {}) {
  const made = document.createElement(tag);
  if (text) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  parent.append(made);
  return made;
}

function reset() { yaw = 0.6; pitch = 0.35; zoom = 1; panX = 0; panY = 0; }

// ---- places, scaled to -1..1 about their middle

function scaled(points) {
  const width = points.length ? points[0].length : 0;
  const middle = [], reach = [];
  for (let axis = 0; axis < width; axis++) {
    const values = points.map((point) => point[axis]);
    const low = values.reduce((a, b) => Math.min(a, b)), high = values.reduce((a, b) => Math.max(a, b));
    middle.push((low + high) / 2);
    reach.push((high - low) / 2);
  }
  const most = Math.max(...reach, 1e-12);
  return points.map((point) => point.map((value, axis) => (value - middle[axis]) / most));
}

const layouts = {
  pca2: scaled(data.pca.map((point) => point.slice(0, 2))), pca3: scaled(data.pca),
  tsne2: scaled(data.tsne2), tsne3: scaled(data.tsne3),
};

function placed(point) {
  if (dimensions === 2) return [point[0], point[1], 0];
  const [x, y, z] = point;
  const x1 = x * Math.cos(yaw) + z * Math.sin(yaw), z1 = z * Math.cos(yaw) - x * Math.sin(yaw);
  const y1 = y * Math.cos(pitch) - z1 * Math.sin(pitch);
  return [x1, y1, y * Math.sin(pitch) + z1 * Math.cos(pitch)];
}

// ---- drawing

const images = new Map();
function picture(row) {
  if (!data.thumbnails[row]) return null;
  if (!images.has(row)) {
    const image = new Image();
    image.onload = schedule;
    image.src = data.thumbnails[row];
    images.set(row, image);
  }
  return images.get(row);
}

function widest(points, axis) {
  return points.reduce((most, point) => Math.max(most, Math.abs(point[axis])), 1e-9);
}

function draw() {
  const ratio = window.devicePixelRatio || 1, box = canvas.getBoundingClientRect();
  canvas.width = Math.round(box.width * ratio);
  canvas.height = Math.round(box.height * ratio);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  const points = layouts[method + dimensions];
  // One unit in every direction, so that distances are what they are.
  const unit = zoom * (dimensions === 3 ? 0.42 * Math.min(box.width, box.height)
    : 0.46 * Math.min(box.width / widest(points, 0), box.height / widest(points, 1)));
  drawn = [];
  points.forEach((point, row) => {
    if (hidden.has(data.label[row])) return;
    const [x, y, z] = placed(point), near = dimensions === 3 ? 2.6 / (2.6 - z) : 1;
    drawn.push({ row, z, near, x: box.width / 2 + panX + x * near * unit,
      y: box.height / 2 + panY - y * near * unit });
  });
  drawn.sort((a, b) => a.z - b.z);
  const base = count > 2000 ? 2.6 : count > 400 ? 3.6 : 5;
  for (const item of drawn) {
    const radius = base * item.near * Math.min(2, Math.sqrt(zoom));
    const image = pictures ? picture(item.row) : null;
    if (image && image.complete && image.naturalWidth) {
      const scale = 5 * radius / Math.max(image.naturalWidth, image.naturalHeight);
      const w = image.naturalWidth * scale, h = image.naturalHeight * scale;
      context.drawImage(image, item.x - w / 2, item.y - h / 2, w, h);
      context.strokeStyle = data.colors[data.label[item.row]];
      context.lineWidth = 1.5;
      context.strokeRect(item.x - w / 2, item.y - h / 2, w, h);
    } else {
      context.globalAlpha = dimensions === 3 ? Math.max(0.35, Math.min(1, 0.3 + 0.6 * item.near)) : 0.85;
      context.fillStyle = data.colors[data.label[item.row]];
      context.beginPath();
      context.arc(item.x, item.y, radius, 0, 2 * Math.PI);
      context.fill();
      context.globalAlpha = 1;
    }
  }
  const marked = drawn.find((item) => item.row === picked);
  if (marked) {
    context.strokeStyle = getComputedStyle(document.body).color;
    context.lineWidth = 2;
    context.beginPath();
    context.arc(marked.x, marked.y, 12, 0, 2 * Math.PI);
    context.stroke();
  }
}

let waiting = false;
function schedule() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; draw(); });
}

function caption() {
  const share = (value) => (100 * value).toFixed(1) + " %";
  const shares = data.explained.slice(0, dimensions);
  const total = share(shares.reduce((a, b) => a + b, 0));
  document.getElementById("caption").textContent = (method === "pca"
    ? "PCA: the " + dimensions + " components hold " + total + " of the variance (" +
      shares.map(share).join(", ") + ")."
    : "t-SNE, perplexity " + data.perplexity + ": near points are alike; distances between " +
      "groups and the sizes of groups mean little.") +
    (dimensions === 3 ? " Drag to turn, wheel to zoom." : " Drag to move, wheel to zoom.");
}

// ---- buttons, legend

const buttons = [];
function button(text, parent, isOn, act) {
  const made = element("button", text, parent, { type: "button" });
  buttons.push(() => made.setAttribute("aria-pressed", String(isOn())));
  made.addEventListener("click", () => { act(); refresh(); });
  return made;
}

function refresh() { buttons.forEach((update) => update()); caption(); schedule(); }

function addButtons() {
  const bar = document.getElementById("buttons");
  button("t-SNE", bar, () => method === "tsne", () => { method = "tsne"; reset(); });
  button("PCA", bar, () => method === "pca", () => { method = "pca"; reset(); });
  button("2-D", bar, () => dimensions === 2, () => { dimensions = 2; reset(); });
  button("3-D", bar, () => dimensions === 3, () => { dimensions = 3; reset(); });
  if (data.thumbnails.some(Boolean)) {
    button("pictures", bar, () => pictures, () => { pictures = !pictures; });
  }
  button("reset view", bar, () => false, reset);
  data.classes.forEach((name, label) => {
    const entry = button("", document.getElementById("legend"), () => !hidden.has(label), () => {
      if (!hidden.delete(label)) hidden.add(label);
    });
    element("span", "", entry, { class: "dot" }).style.background = data.colors[label];
    element("span", (name || "no class") + " (" + data.counts[label] + ")", entry);
  });
}

// ---- pointer and keys

function nearest(x, y) {
  let found = null, least = 14 * 14;
  for (const item of drawn) {
    const far = (item.x - x) ** 2 + (item.y - y) ** 2;
    if (far <= least) { least = far; found = item; }
  }
  return found;
}

function showTip(event) {
  const box = canvas.getBoundingClientRect();
  const found = nearest(event.clientX - box.left, event.clientY - box.top);
  tip.style.display = found ? "block" : "none";
  if (!found) return;
  tip.replaceChildren();
  if (data.thumbnails[found.row]) element("img", "", tip, { src: data.thumbnails[found.row], alt: data.paths[found.row] });
  element("div", data.paths[found.row], tip);
  element("div", data.classes[data.label[found.row]] || "no class", tip, { class: "soft" });
  tip.style.left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8) + "px";
  tip.style.top = Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 8) + "px";
}

function turn(byX, byY) {
  if (dimensions === 3) {
    yaw += byX / 150;
    pitch = Math.max(-1.57, Math.min(1.57, pitch + byY / 150));
  } else { panX += byX; panY += byY; }
  schedule();
}

let held = null;
canvas.addEventListener("pointerdown", (event) => {
  held = [event.clientX, event.clientY];
  canvas.setPointerCapture(event.pointerId);
  tip.style.display = "none";
});
canvas.addEventListener("pointerup", (event) => { held = null; showTip(event); });
canvas.addEventListener("pointercancel", () => { held = null; });
canvas.addEventListener("pointerleave", () => { tip.style.display = "none"; });
canvas.addEventListener("pointermove", (event) => {
  if (!held) { showTip(event); return; }
  turn(event.clientX - held[0], event.clientY - held[1]);
  held = [event.clientX, event.clientY];
});
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  const box = canvas.getBoundingClientRect(), before = zoom;
  zoom = Math.max(0.3, Math.min(40, zoom * Math.exp(-event.deltaY / 500)));
  const grown = zoom / before;  // the place under the pointer stays there
  panX = (panX - (event.clientX - box.left - box.width / 2)) * grown + event.clientX - box.left - box.width / 2;
  panY = (panY - (event.clientY - box.top - box.height / 2)) * grown + event.clientY - box.top - box.height / 2;
  schedule();
}, { passive: false });
canvas.addEventListener("keydown", (event) => {
  const moves = { ArrowLeft: [-20, 0], ArrowRight: [20, 0], ArrowUp: [0, -20], ArrowDown: [0, 20] };
  if (!moves[event.key]) return;
  event.preventDefault();
  turn(...moves[event.key]);
});
window.addEventListener("resize", schedule);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", schedule);

// ---- lists

function cell(row, line) {
  const made = element("td", "", line);
  if (data.thumbnails[row]) element("img", "", made, { src: data.thumbnails[row], alt: data.paths[row] });
  element("span", data.paths[row], made);
}

function list(title, formula, items, total) {
  const lists = document.getElementById("lists");
  element("h2", title + ": " + total, lists);
  element("p", formula, lists, { class: "soft" });
  const table = element("table", "", lists);
  for (const item of items) {
    const line = element("tr", "", table, { class: "pick" });
    item.rows.forEach((row) => cell(row, line));
    element("td", item.value, line, { class: "number" });
    line.addEventListener("click", () => { picked = item.rows[0]; schedule(); canvas.scrollIntoView(); });
  }
  if (items.length < total) element("p", "and " + (total - items.length) + " more", lists, { class: "soft" });
}

canvas.setAttribute("aria-label", "Map of " + count + " pictures in " + data.classes.length + " classes");
document.title = document.getElementById("title").textContent = data.title;
document.getElementById("summary").textContent = data.summary;
reset();
addButtons();
data.lists.forEach((item) => list(item.title, item.formula, item.items, item.total));
refresh();
