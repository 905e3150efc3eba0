(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  document.getElementById("theme").addEventListener("click", () => {
    const now = root.dataset.theme || (dark.matches ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
  });

  const valueOf = (row, index) => {
    const cell = row.cells[index];
    return cell.dataset.value === undefined ? cell.textContent.trim() : Number(cell.dataset.value);
  };
  const compare = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    // Cells without a number go last, whichever way the column is sorted.
    if (typeof a !== typeof b) return typeof a === "number" ? -Infinity : Infinity;
    return a.localeCompare(b, undefined, { numeric: true });
  };
  const sort = (head) => {
    const table = head.closest("table"), body = table.tBodies[0], index = head.cellIndex;
    const up = head.getAttribute("aria-sort") !== "ascending";
    for (const other of head.parentNode.cells) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const rows = [...body.rows].map((row) => [valueOf(row, index), row]);
    rows.sort(([a], [b]) => { const order = compare(a, b); return Number.isFinite(order) ? (up ? order : -order) : order; });
    body.append(...rows.map(([, row]) => row));
  };
  for (const head of document.querySelectorAll("th")) {
    head.addEventListener("click", () => sort(head));
    head.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); sort(head); }
    });
  }

  for (const field of document.querySelectorAll(".searchable > input")) {
    const rows = field.nextElementSibling.querySelectorAll("tbody tr");
    const texts = [...rows].map((row) => (row.textContent + " " + [...row.querySelectorAll("[title]")].map((n) => n.title).join(" ")).toLowerCase());
    field.addEventListener("input", () => {
      const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      rows.forEach((row, i) => { row.hidden = !words.every((word) => texts[i].includes(word)); });
    });
  }

  const dialog = document.getElementById("zoomed");
  for (const button of document.querySelectorAll(".zoom")) {
    button.addEventListener("click", () => {
      const name = button.parentNode.querySelector("figcaption .name");
      dialog.querySelector("img").src = button.querySelector("img").src;
      dialog.querySelector("p").textContent = name ? name.title || name.textContent : "";
      dialog.showModal();
    });
  }
  dialog.addEventListener("click", () => dialog.close());
})();
