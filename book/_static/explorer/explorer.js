/* The explorer: draws what gexlib.explore wrote into the page. The address keeps what is chosen. */
(() => {
  const COLOURS = ["#D55E00", "#0072B2", "#009E73", "#CC79A7", "#3A9BD0", "#BF8400", "#797979", "#8B5A2B"];
  const LABELS = {
    accuracy: "accuracy", balanced_accuracy: "balanced accuracy", roc_auc: "ROC AUC",
    mcc: "Matthews correlation", n: "samples (n)", layers: "hidden layers", neurons: "neurons a layer",
    learning_rate: "learning rate", batch_size: "batch size", dropout: "dropout rate", penalty: "penalty",
    penalty_weight: "weight of the penalty", batch_norm: "batch normalisation", optimiser: "optimiser",
  };
  const LOGARITHMIC = ["n", "learning_rate", "penalty_weight"];
  const SHARES = ["accuracy", "balanced_accuracy", "roc_auc"];
  const SHOWN = 8; // series drawn at first

  const unpacked = (columns) => {
    const names = Object.keys(columns);
    const value = (c, i) => (c.words ? c.words[c.codes[i]] : c[i]);
    const length = (columns[names[0]].codes ?? columns[names[0]]).length;
    return Array.from({ length }, (_, i) => Object.fromEntries(names.map((name) => [name, value(columns[name], i)])));
  };
  const distinct = (rows, name) => [...new Set(rows.map((row) => row[name]))].sort();
  const make = (tag, attributes = {}, ...children) => {
    const node = Object.assign(document.createElement(tag), attributes);
    node.append(...children);
    return node;
  };
  const words = (name) => LABELS[name] ?? name;
  const digits = (value) => (value === null ? "–" : typeof value === "number" ? +value.toPrecision(4) + "" : value);

  function start(root, data) {
    const summary = unpacked(data.summary), draws = unpacked(data.draws);
    const state = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
    const form = make("form", { className: "explorer-form" });
    const figure = make("div", { className: "explorer-figure" });
    const legend = make("fieldset", { className: "explorer-legend" });
    const table = make("div", { className: "table-scroll explorer-table", tabIndex: 0, role: "region", ariaLabel: "Values" });
    const note = make("p", { className: "explorer-note" });
    note.setAttribute("aria-live", "polite");
    root.replaceChildren(form, figure, legend, note, table);

    /* Add a list to the form; what the address asks for, if it is there, else the first. */
    const choose = (name, label, options, preferred = options[0]) => {
      if (!options.includes(state[name])) state[name] = preferred;
      const select = make("select", { name });
      for (const option of options) select.append(make("option", { value: option, textContent: words(option), selected: option === state[name] }));
      select.addEventListener("change", () => {
        state[name] = select.value;
        delete state.without;
        draw(name);
      });
      form.append(make("label", {}, label, select));
      return state[name];
    };

    const tabulate = (columns, rows) => {
      const head = make("tr", {}, ...columns.map((name) => make("th", { scope: "col", textContent: words(name) })));
      const body = rows.map((row) => make("tr", {}, ...columns.map((name) => make("td", { textContent: digits(row[name]) }))));
      table.replaceChildren(make("table", { className: "dataframe" }, make("thead", {}, head), make("tbody", {}, ...body)));
    };

    /* Boxes that say which series are drawn. */
    const chooseSeries = (all, colour) => {
      const hidden = new Set(state.without === undefined ? all.slice(SHOWN) : state.without.split("|"));
      legend.replaceChildren(make("legend", { textContent: "Shown" }));
      for (const name of all) {
        const box = make("input", { type: "checkbox", checked: !hidden.has(name), value: name });
        box.addEventListener("change", () => {
          box.checked ? hidden.delete(name) : hidden.add(name);
          state.without = [...hidden].join("|");
          draw("series", name);
        });
        const mark = make("span", { className: "explorer-mark" });
        mark.style.background = colour(name);
        legend.append(make("label", {}, box, mark, name));
      }
      return all.filter((name) => !hidden.has(name));
    };

    const curves = (rows, metric) => {
      const plain = (name) => !name.includes(", "); // no other weights, no other split
      const all = distinct(rows, "series").sort((a, b) => plain(b) - plain(a));
      const colour = (name) => COLOURS[all.indexOf(name) % COLOURS.length];
      const shown = new Set(chooseSeries(all, colour));
      const own = rows.filter((row) => shown.has(row.series));
      const sized = own.filter((row) => row.n > 0), level = own.filter((row) => row.n === 0);
      const common = { x: "n", stroke: (row) => colour(row.series) };
      const title = (row) => `${row.series}\nn = ${row.n || "none"}: ${digits(row.mean)}` +
        (row.low === null ? "" : ` (${digits(row.low)} to ${digits(row.high)})`) + `\n${row.repetitions} repetitions\n${row.file}`;
      tabulate(["series", "n", "mean", "low", "high", "repetitions", "file"], own);
      note.textContent = `${own.length} values; 95 % t intervals over splits, folds or repeats. Rows: ${distinct(own, "file").map((f) => "results/" + f).join(", ")}`;
      return {
        x: { type: "log", label: words("n"), ticks: distinct(sized, "n"), tickFormat: (d) => d.toLocaleString("en"), tickRotate: -40 },
        y: { label: words(metric), grid: true, ...range(own, metric), clamp: true },
        marks: [
          Plot.ruleY(level, { y: "mean", stroke: common.stroke, strokeDasharray: "4 3" }),
          Plot.ruleX(sized.filter((row) => row.low !== null), { x: "n", y1: "low", y2: "high", stroke: common.stroke, strokeOpacity: 0.5 }),
          Plot.line(sized, { ...common, y: "mean", z: "series", sort: "n" }),
          Plot.dot(sized, { ...common, y: "mean", symbol: (row) => row.series, fill: (row) => colour(row.series), r: 3 }),
          Plot.tip(own, Plot.pointer({ x: (row) => row.n || sized[0]?.n, y: "mean", title })),
        ],
      };
    };

    /* No share is above 1 or below 0, whatever the interval of a few splits says. */
    const range = (rows, metric) => {
      if (!SHARES.includes(metric)) return {};
      const ends = rows.flatMap((row) => [row.mean, row.low ?? row.mean, row.high ?? row.mean]);
      return { domain: [Math.max(0, Math.min(...ends)), Math.min(1, Math.max(...ends))] };
    };

    const cloud = (rows, x, by) => {
      const all = distinct(rows, by).map(String);
      const colour = (name) => COLOURS[all.indexOf(String(name)) % COLOURS.length];
      const shown = new Set(chooseSeries(all, colour));
      const own = rows.filter((row) => shown.has(String(row[by])) && row.accuracy !== null);
      const numbers = typeof own[0]?.[x] === "number", log = LOGARITHMIC.includes(x);
      const drawn = log ? own.filter((row) => row[x] > 0) : own;
      const columns = ["layers", "neurons", "batch_norm", "dropout", "optimiser", "learning_rate", "penalty", "penalty_weight", "batch_size", "accuracy"];
      const title = (row) => columns.map((name) => `${words(name)}: ${digits(row[name])}`).join("\n");
      tabulate(columns, [...own].sort((a, b) => b.accuracy - a.accuracy).slice(0, 50));
      note.textContent = `${drawn.length} draws, scored on validation samples; the table has the 50 best. Rows: ${distinct(own, "file").map((f) => "results/" + f).join(", ")}`;
      return {
        x: { type: numbers ? (log ? "log" : "linear") : "point", label: words(x) },
        y: { label: "accuracy", grid: true },
        marks: [
          Plot.dot(drawn, { x, y: "accuracy", fill: (row) => colour(row[by]), fillOpacity: 0.6, r: 3 }),
          Plot.tip(drawn, Plot.pointer({ x, y: "accuracy", title })),
        ],
      };
    };

    function draw(changed, name) {
      const focus = [changed, name];
      form.replaceChildren();
      const section = choose("section", "Section", [...distinct(summary, "section"), "sensitivity"], "comparison");
      let options, subject;
      if (section === "sensitivity") {
        const cohort = choose("cohort", "Cohort", distinct(draws, "cohort"));
        let rows = draws.filter((row) => row.cohort === cohort);
        subject = choose("subject", "Task", distinct(rows, "task"));
        rows = rows.filter((row) => row.task === subject);
        const x = choose("x", "Across", ["layers", "neurons", "learning_rate", "batch_size", "dropout", "penalty_weight", "optimiser"]);
        options = cloud(rows, x, choose("by", "Colour", ["optimiser", "penalty", "batch_norm"]));
      } else {
        let rows = summary.filter((row) => row.section === section);
        const cohort = choose("cohort", "Cohort", distinct(rows, "cohort"));
        rows = rows.filter((row) => row.cohort === cohort);
        const subjects = distinct(rows, "subject");
        const whole = subjects.find((name) => name.endsWith("/pan")) ?? subjects[0];
        subject = choose("subject", section === "comparison" ? "Task" : "Target", subjects, whole);
        rows = rows.filter((row) => row.subject === subject);
        const metric = choose("metric", "Score", distinct(rows, "metric"));
        options = curves(rows.filter((row) => row.metric === metric), metric);
      }
      const what = `${section}, ${state.cohort}, ${subject}`;
      const width = Math.max(320, figure.clientWidth || 640);
      const plot = Plot.plot({
        ...options, width, height: Math.min(460, width * 0.75), marginLeft: 50, marginBottom: 55,
        style: { background: "transparent", fontSize: "13px" }, ariaLabel: `${what}: values are in the table below`,
      });
      plot.setAttribute("role", "img"); // one picture: what its groups are called is no name that may be read out
      for (const group of plot.querySelectorAll("g[aria-label]")) {
        group.dataset.mark = group.getAttribute("aria-label");
        group.removeAttribute("aria-label");
      }
      const simulated = state.cohort.startsWith("simulated-") ? [make("p", { className: "simulated", textContent: "Simulated data: describes no patient." })] : [];
      figure.replaceChildren(...simulated, plot);
      const kept = ["section", "cohort", "subject", "metric", "x", "by", "without"].filter((key) => state[key] !== undefined);
      history.replaceState(null, "", "#" + new URLSearchParams(kept.map((key) => [key, state[key]])));
      root.dataset.drawn = what;
      const again = focus[0] === "series" ? [...legend.querySelectorAll("input")].find((box) => box.value === focus[1]) : focus[0] && form.elements[focus[0]];
      again?.focus();
    }
    draw();
    addEventListener("resize", () => draw());
  }

  addEventListener("DOMContentLoaded", () => {
    const root = document.getElementById("explorer");
    if (root) start(root, JSON.parse(document.getElementById("explorer-data").textContent));
  });
})();
