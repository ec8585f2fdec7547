"""Script of a report: sorts tables and shows values of figures. A page shows everything without it."""

from __future__ import annotations

SCRIPT = r"""
"use strict";
(() => {
  // Tables: a button in each header sorts its column up, down, and back to the order of the page.
  const read = (text) => {
    const found = text.replace(/,(?=\d{3})/g, "").match(/^[<+\s]*(-?\d+(?:\.\d+)?)/);
    return found ? Number(found[1]) : null;
  };
  const compare = (a, b) => {
    const [x, y] = [read(a), read(b)];
    if (x !== null && y !== null) return x - y || a.localeCompare(b);
    if (x !== null || y !== null) return x !== null ? -1 : 1;
    return a.localeCompare(b, "en", {numeric: true});
  };
  for (const table of document.querySelectorAll("table")) {
    const body = table.tBodies[0], rows = [...body.rows], heads = [...table.tHead.rows[0].cells];
    if (rows.length < 3) continue;
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        const next = {none: "ascending", ascending: "descending", descending: "none"}[head.getAttribute("aria-sort")];
        heads.forEach((other) => other.setAttribute("aria-sort", "none"));
        head.setAttribute("aria-sort", next);
        const text = (row) => row.cells[column].textContent.trim();
        const sorted = next === "none" ? rows : rows.filter(text).sort((a, b) =>
          (next === "ascending" ? 1 : -1) * compare(text(a), text(b)));
        // Rows without a value are last in both directions.
        body.append(...sorted, ...rows.filter((row) => !sorted.includes(row)));
      });
    });
  }
  // Figures: the pointer or the arrow keys choose a point, and its value is shown beside it.
  const value = document.createElement("div");
  value.id = "value";
  value.setAttribute("role", "status");
  document.querySelector("main").append(value);
  let lit = [];
  const show = (circles) => {
    lit.forEach((circle) => circle.classList.remove("lit"));
    lit = circles;
    lit.forEach((circle) => circle.classList.add("lit"));
    value.textContent = lit.map((circle) => circle.getAttribute("aria-label")).join("\n");
    if (!lit.length) return;
    const box = lit[0].getBoundingClientRect(), size = value.getBoundingClientRect();
    const left = Math.min(box.right + 6, innerWidth - size.width - 6);
    const above = box.top - size.height - 4;
    value.style.left = `${Math.max(6, left)}px`;
    value.style.top = `${above > 0 ? above : box.bottom + 4}px`;
  };
  for (const svg of document.querySelectorAll("svg:has(.points)")) {
    const circles = [...svg.querySelectorAll(".points circle")];
    circles.forEach((circle) => {
      circle.setAttribute("role", "img");
      circle.setAttribute("tabindex", "-1");
      circle.setAttribute("aria-label", circle.firstChild.textContent);
      circle.firstChild.remove();
    });
    svg.setAttribute("tabindex", "0");
    svg.parentNode.removeAttribute("tabindex");
    const places = circles.map((circle) => [+circle.getAttribute("cx"), +circle.getAttribute("cy")]);
    const near = (x, y, reach) => places.map(([a, b], at) => [Math.hypot(a - x, b - y), at])
      .filter(([distance]) => distance <= reach).sort((a, b) => a[0] - b[0]).map(([, at]) => at);
    svg.addEventListener("pointermove", (event) => {
      const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      const [nearest] = near(at.x, at.y, 14);
      show(nearest === undefined ? [] : near(...places[nearest], 2.5).slice(0, 8).map((one) => circles[one]));
    });
    svg.addEventListener("pointerleave", () => show([]));
    svg.addEventListener("focusout", () => show([]));
    svg.addEventListener("focusin", (event) => circles.includes(event.target) && show([event.target]));
    svg.addEventListener("keydown", (event) => {
      const last = circles.length - 1, at = circles.indexOf(document.activeElement);
      const next = {ArrowRight: Math.min(at + 1, last), ArrowDown: Math.min(at + 1, last),
        ArrowLeft: Math.max(at - 1, 0), ArrowUp: Math.max(at - 1, 0), Home: 0, End: last}[event.key];
      if (event.key === "Escape") svg.focus();
      if (next === undefined) return;
      event.preventDefault();
      circles[next].focus();
    });
  }
  // A table that fits needs no stop of the tab key.
  const fit = () => document.querySelectorAll(".scroll").forEach((box) => {
    if (box.querySelector("svg[tabindex]")) return;
    box.scrollWidth > box.clientWidth ? box.setAttribute("tabindex", "0") : box.removeAttribute("tabindex");
  });
  addEventListener("resize", fit);
  fit();
})();
"""
