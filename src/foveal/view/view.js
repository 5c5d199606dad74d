"use strict";

// Index: the filters live in the address (#wrong&family=search), so a filtered list can be linked to.
const filters = document.getElementById("filters");

function applyFilters() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  for (const box of filters.querySelectorAll("input")) box.checked = wanted.has(box.name);
  const select = filters.querySelector("select");
  const family = select && [...select.options].some((o) => o.value === wanted.get("family")) ? wanted.get("family") : "";
  if (select) select.value = family;
  let shown = 0;
  const rows = document.querySelectorAll(".rows > li");
  for (const row of rows) {
    const passes =
      ["wrong", "error", "notool"].every((key) => !wanted.has(key) || key in row.dataset) &&
      (!family || row.dataset.family === family);
    row.hidden = !passes;
    shown += passes;
  }
  document.getElementById("shown").textContent =
    shown === rows.length ? `${shown} rows` : `${shown} of ${rows.length} rows`;
  document.getElementById("nothing").hidden = shown > 0;
}

function readFilters() {
  const wanted = [...filters.querySelectorAll("input:checked")].map((box) => box.name);
  const select = filters.querySelector("select");
  if (select && select.value) wanted.push(new URLSearchParams({ family: select.value }).toString());
  location.hash = wanted.join("&");
}

if (filters) {
  filters.addEventListener("change", readFilters);
  addEventListener("hashchange", applyFilters);
  applyFilters();
}

// Trajectory: j and k go from turn to turn.
const turns = [...document.querySelectorAll(".turn")];

function step(by) {
  const line = 80; // a turn is current once its top has passed under the navigation
  const passed = turns.filter((turn) => turn.getBoundingClientRect().top < line).length;
  const atTurn = turns.indexOf(document.activeElement);
  const now = atTurn >= 0 ? atTurn : passed - 1;
  const next = turns[Math.min(Math.max(now + by, 0), turns.length - 1)];
  if (!next) return;
  next.focus({ preventScroll: true });
  next.scrollIntoView({ block: "start" });
  history.replaceState(null, "", `#${next.id}`);
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.target.closest("input, select, textarea")) return;
  if (event.key === "j") step(1);
  if (event.key === "k") step(-1);
});

// A click on a picture shows it over the page; a second click shows its own pixels. Without script it is a link.
const dialog = document.createElement("dialog");
dialog.className = "full";
document.body.append(dialog);

for (const link of document.querySelectorAll("a.zoom")) {
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const stage = document.createElement("div");
    stage.className = "stage";
    for (const layer of link.children) stage.append(layer.cloneNode(true));
    const image = stage.querySelector("img");
    image.loading = "eager";
    const [width, height] = ["width", "height"].map((side) => Number(image.getAttribute(side)));
    const fit = Math.min((0.96 * innerWidth) / width, (0.92 * innerHeight) / height);
    const show = (scale) => {
      stage.classList.toggle("actual", scale === 1);
      image.classList.toggle("coarse", scale > 3);
      image.style.width = `${width * scale}px`;
    };
    const close = document.createElement("button");
    close.type = "button";
    close.textContent = "close";
    close.addEventListener("click", () => dialog.close());
    stage.addEventListener("click", () => show(stage.classList.contains("actual") ? fit : 1));
    show(fit);
    dialog.replaceChildren(close, stage);
    dialog.showModal();
  });
}

dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close();
});
