"use strict";
(() => {
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const fine = matchMedia("(pointer: fine)");
  const STATIONS = { trigger: ["#999933", "#d2d26a"], select: ["#4a90c2", "#8cc4ea"], load: ["#2f9c85", "#5fd0b6"], train: ["#dd7a55", "#f2a07e"], evaluate: ["#a3a8ad", "#7a838b"], store: ["#b3659a", "#e6a4cc"] };
  const LABELS = [["#332288", "#9d8cff"], ["#44aa99", "#5fd0b6"], ["#ddaa33", "#e8c53a"], ["#aa4466", "#f08fae"], ["#88ccee", "#a9dcf7"], ["#117733", "#4fbf72"], ["#999933", "#d2d26a"], ["#882255", "#d77fb0"], ["#ee8866", "#f7ab90"], ["#777777", "#aaaaaa"]];
  const AGES = [["#1f5f8b", "#8cc4ea"], ["#4a90c2", "#5b9fcf"], ["#8fbcd9", "#3d7299"], ["#c0d9e9", "#2c5066"], ["#dfe5ea", "#3a434b"]];
  const style = getComputedStyle(document.documentElement);

  function palette() {
    const read = name => style.getPropertyValue("--" + name).trim();
    const colours = { $ink: read("ink"), $quiet: read("quiet"), $paper: read("paper"), $fill: dark.matches ? "#4a5661" : "#c3cad1" };
    for (let n = 0; n < 6; n++) colours["$run" + n] = read("run" + n);
    for (const name in STATIONS) colours["$station-" + name] = STATIONS[name][dark.matches ? 1 : 0];
    LABELS.forEach((pair, n) => { colours["$label" + n] = pair[dark.matches ? 1 : 0]; });
    AGES.forEach((pair, n) => { colours["$age" + n] = pair[dark.matches ? 1 : 0]; });
    return colours;
  }

  function painted(value, colours, key) {
    if (Array.isArray(value)) return typeof value[0] === "object" && value[0] !== null ? value.map(v => painted(v, colours, key)) : value;
    if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, painted(v, colours, k)]));
    return typeof value === "string" && /color/.test(key) && value in colours ? colours[value] : value;
  }

  const chosen = id => { const box = document.getElementById(id); return box ? box.value : ""; };
  function figureOf(id) {
    const figures = charts[id], metric = chosen("metric");
    return figures[metric + "|" + chosen("cost")] || figures[metric] || figures["*"] || Object.values(figures)[0];
  }

  function thin(axis, most) {
    if (!axis.tickvals || !axis.ticktext.some(text => text.length > 5)) return;
    const step = Math.ceil(axis.tickvals.length / most);
    for (const list of ["tickvals", "ticktext"]) axis[list] = axis[list].filter((_, place) => place % step === 0);
  }

  function layoutOf(given, box, colours) {
    const line = style.getPropertyValue("--line").trim();
    const narrow = box.clientWidth < 560;
    const layout = painted(given, colours, "");
    for (const name of Object.keys(layout).filter(n => /^[xy]axis/.test(n))) {
      const axis = { gridcolor: line, zerolinecolor: line, linecolor: line, fixedrange: !fine.matches, tickfont: { size: 12 } };
      Object.assign(axis, name[0] === "y" ? { automargin: true } : { tickangle: 0 }, name[0] === "x" && narrow ? { nticks: 4 } : {});
      layout[name] = Object.assign(axis, layout[name]);
      if (narrow && name[0] === "x") thin(layout[name], 2);
    }
    const entries = figureOf(box.dataset.chart).data.filter(t => t.name && t.showlegend !== false && t.type !== "heatmap").length;
    const extra = narrow ? 22 * Math.max(0, Math.min(entries, 10) - 2) : 0;
    return Object.assign({
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", height: Number(box.dataset.height) + extra, autosize: true,
      font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: colours.$ink }, margin: { l: narrow ? 44 : 60, r: narrow ? 20 : 12, t: 12, b: 52 },
      hovermode: "closest", hoverlabel: { bgcolor: dark.matches ? "#2a323a" : "#ffffff", bordercolor: line, font: { color: colours.$ink }, align: "left" },
      showlegend: true, legend: { orientation: "h", yanchor: "bottom", y: 1.02, x: 0, xanchor: "left", itemsizing: "constant" },
      dragmode: fine.matches ? "zoom" : false,
    }, layout);
  }

  function draw(box) {
    const id = box.dataset.chart, figure = figureOf(id), colours = palette();
    const caption = document.getElementById(id + "-caption");
    caption.textContent = figure.caption;
    const config = { responsive: true, displaylogo: false, displayModeBar: fine.matches ? "hover" : false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };
    const done = Plotly.react(box, painted(figure.data, colours, ""), layoutOf(figure.layout, box, colours), config);
    const table = document.querySelector(`[data-values="${id}"]`);
    if (table.open) fill(table);
    return done;
  }

  function cellsOf(figure) {
    const rows = [["", "", "value"]];
    for (const trace of figure.data) {
      if (trace.hoverinfo === "skip") continue;
      if (trace.type === "heatmap") {
        trace.y.forEach((y, i) => trace.x.forEach((x, j) => { if (trace.z[i][j] !== null) rows.push([y, x, String(trace.z[i][j])]); }));
        continue;
      }
      (trace.x || []).forEach((x, i) => {
        if (x === null) return;
        const value = trace.y[i] === null ? "undefined" : String(trace.y[i]);
        const text = trace.text ? plain(trace.text[i]) : "";
        rows.push([plain(trace.name || ""), text || String(x), trace.yaxis === "y2" && trace.mode === "markers" ? "" : value]);
      });
    }
    return rows;
  }

  function plain(text) {
    const holder = document.createElement("textarea");
    holder.innerHTML = String(text).replace(/<br>/g, ", ");
    return holder.value;
  }

  function fill(details) {
    const table = document.createElement("table");
    const head = table.createTHead().insertRow();
    for (const name of ["series", "where", "value"]) { const th = document.createElement("th"); th.scope = "col"; th.textContent = name; head.append(th); }
    const body = table.createTBody();
    for (const cells of cellsOf(figureOf(details.dataset.values)).slice(1)) {
      const row = body.insertRow();
      for (const cell of cells) row.insertCell().textContent = cell;
    }
    details.querySelector(".scroll").replaceChildren(table);
  }

  const boxes = [...document.querySelectorAll(".plot")];
  let turn = 0;
  async function drawAll() {
    const mine = ++turn;
    for (const box of boxes) {
      if (mine !== turn) return;
      await draw(box);
      await new Promise(go => setTimeout(go));
    }
    document.documentElement.dataset.drawn = String(mine);
  }

  function choose() {
    const metric = chosen("metric");
    for (const part of document.querySelectorAll("[data-metric]")) if (metric) part.hidden = part.dataset.metric !== metric;
    drawAll();
  }

  for (const id of ["metric", "cost"]) document.getElementById(id)?.addEventListener("change", choose);
  for (const details of document.querySelectorAll("[data-values]")) details.addEventListener("toggle", () => { if (details.open) fill(details); });
  dark.addEventListener("change", drawAll);
  choose();
})();
