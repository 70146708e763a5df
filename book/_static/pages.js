/* What all pages add: every figure as SVG and PNG, every table as CSV, made by the browser from what the page shows. */
(() => {
  const SCALE = 3; // of a PNG
  const link = (text, name, href) => Object.assign(document.createElement("a"), { textContent: text, download: name, href });
  const button = (text, action) => {
    const node = Object.assign(document.createElement("button"), { type: "button", textContent: text });
    node.addEventListener("click", action);
    return node;
  };
  const save = (blob, name) => {
    const node = link("", name, URL.createObjectURL(blob));
    node.click();
    setTimeout(() => URL.revokeObjectURL(node.href), 1000);
  };
  const beside = (node, what, ...ways) => {
    const line = Object.assign(document.createElement("p"), { className: "downloads" });
    line.append(`${what} as `, ...ways.flatMap((way, i) => (i ? [", ", way] : [way])));
    node.after(line);
  };
  const page = location.pathname.split("/").pop().replace(/\.html$/, "") || "index";
  const named = (node, i) => node.closest("figure, .cell, section")?.querySelector("[id^=fig-], [id^=table-]")?.id ?? node.closest("figure[id], [id^=fig-]")?.id ?? `${page}-${i + 1}`;

  function png(image, name) {
    const canvas = document.createElement("canvas");
    canvas.width = SCALE * image.naturalWidth;
    canvas.height = SCALE * image.naturalHeight;
    const context = canvas.getContext("2d");
    context.fillStyle = "#ffffff";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(image, 0, 0, canvas.width, canvas.height);
    canvas.toBlob((blob) => save(blob, name), "image/png");
  }

  function csv(table, name) {
    const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    const lines = [...table.rows].map((row) => [...row.cells].map((cell) => quoted(cell.textContent.trim())).join(","));
    save(new Blob([lines.join("\n") + "\n"], { type: "text/csv" }), name);
  }

  addEventListener("DOMContentLoaded", () => {
    // docutils calls a bibliography a list, and its entries by a role that is no more
    for (const node of document.querySelectorAll(".citation-list, .citation")) node.removeAttribute("role");
    document.querySelectorAll("article img[src$='.svg']").forEach((image, i) => {
      const name = named(image, i), place = image.closest("figure") ?? image;
      beside(place, "Figure", link("SVG", `${name}.svg`, image.src), button("PNG", () => png(image, `${name}.png`)));
    });
    // on a telephone a table of statements is read one by one, each value under its column's name
    for (const table of document.querySelectorAll("article .table-scroll table")) {
      const names = [...(table.tHead?.rows[0]?.cells ?? [])].map((cell) => cell.textContent.trim());
      if (names[0] !== "statement") continue;
      table.classList.add("statements");
      for (const row of table.tBodies[0].rows) [...row.cells].forEach((cell, i) => (cell.dataset.column = names[i]));
    }
    document.querySelectorAll("article .table-scroll:not(.explorer-table)").forEach((box, i) => {
      beside(box, "Table", button("CSV", () => csv(box.querySelector("table"), `${page}-table-${i + 1}.csv`)));
    });
    const root = document.getElementById("explorer");
    if (root) {
      const values = button("CSV", () => csv(root.querySelector("table"), `${page}.csv`));
      beside(root, "Values", values);
    }
  });
})();
