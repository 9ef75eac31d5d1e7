"use strict";
// The page is complete without this script: it adds sorting, folding of long lists, and the place in the contents.
document.documentElement.classList.add("js");

document.addEventListener("DOMContentLoaded", () => {
  const say = (text) => { document.getElementById("status").textContent = text; };
  const count = (n) => n.toLocaleString("en");
  const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

  const button = (text, act) => {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = text;
    made.addEventListener("click", act);
    return made;
  };

  // Long lists: the first items are visible, buttons bring the others.
  for (const line of document.querySelectorAll(".grow")) {
    const box = line.closest("[data-growing]");
    const total = Number(line.dataset.total);
    const step = Number(box.dataset.step);
    let shown = Number(line.dataset.shown);
    const label = document.createElement("span");
    label.tabIndex = -1;
    const grow = (by) => {
      const hidden = box.querySelectorAll(".more");
      shown = Math.min(total, shown + by);
      [...hidden].slice(0, by).forEach((item) => item.classList.remove("more"));
      const table = box.querySelector("table");
      if (table) table.dataset.shown = shown;
      write();
      say(label.textContent);
      if (shown === total) label.focus();
    };
    const some = step < total - shown ? button("", () => grow(step)) : null;
    const all = button("", () => grow(total - shown));
    const write = () => {
      label.textContent = shown < total
        ? `${count(shown)} of ${count(total)} shown` : `all ${count(total)} shown`;
      all.textContent = `Show all ${count(total)}`;
      all.hidden = shown === total;
      if (some) {
        some.textContent = `Show ${count(Math.min(step, total - shown))} more`;
        some.hidden = total - shown <= step;
      }
    };
    line.append(label, ...(some ? [some] : []), all);
    write();
  }

  // Tables: numbers as numbers, text as people order it, missing values last in both directions.
  const key = (cell) => {
    if ("sort" in cell.dataset) return Number(cell.dataset.sort);
    return "missing" in cell.dataset ? null : cell.textContent.trim();
  };
  const compare = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    return collator.compare(a, b);
  };
  const sort = (table, index) => {
    const heads = [...table.tHead.rows[0].cells];
    const head = heads[index];
    const up = head.getAttribute("aria-sort") !== "ascending";
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [key(row.cells[index]), row]);
    rows.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      return up ? compare(a, b) : compare(b, a);
    });
    const shown = Number(table.dataset.shown);
    rows.forEach(([, row], place) => row.classList.toggle("more", place >= shown));
    body.append(...rows.map(([, row]) => row));
    for (const other of heads) if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    say(`Sorted by ${head.textContent}, ${up ? "ascending" : "descending"}`);
  };
  for (const table of document.querySelectorAll("table[data-sortable]")) {
    [...table.tHead.rows[0].cells].forEach((head, index) => {
      if ([...table.tBodies[0].rows].every((row) => row.cells[index].querySelector("img"))) return;
      const made = button(head.textContent, () => sort(table, index));
      made.className = "sort";
      head.replaceChildren(made);
      head.setAttribute("aria-sort", "none");
    });
  }

  // A box that scrolls must be reachable by keyboard.
  const reach = () => {
    for (const box of document.querySelectorAll(".scroll")) {
      if (box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
  };
  reach();
  window.addEventListener("resize", reach);
  document.addEventListener("toggle", reach, true);

  // The contents say where the reader is.
  const links = new Map([...document.querySelectorAll("nav a")].map((a) => [a.hash.slice(1), a]));
  const sections = [...links.keys()].map((id) => document.getElementById(id)).filter(Boolean);
  const place = () => {
    const line = window.innerHeight / 3;
    const atEnd = window.innerHeight + window.scrollY >= document.documentElement.scrollHeight - 2;
    const passed = sections.filter((section) => section.getBoundingClientRect().top <= line);
    const current = atEnd && window.scrollY > 0 ? sections.at(-1) : passed.at(-1) ?? sections[0];
    for (const [id, link] of links) {
      if (current && id === current.id) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  };
  place();
  document.addEventListener("scroll", place, { passive: true });

  // Paper has no buttons: what is folded is printed open.
  window.addEventListener("beforeprint", () => {
    for (const fold of document.querySelectorAll("details:not(.numbers)")) fold.open = true;
  });
});
