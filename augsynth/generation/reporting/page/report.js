"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").textContent);
  const columns = data.columns;
  const texts = { categories: [], reasons: [], labels: [], prompts: [], files: [], details: [], ...data.texts };
  const count = columns.reason ? columns.reason.length : 0;
  const PAGE = 48;
  const SVG = "http://www.w3.org/2000/svg";

  const get = (key, i) => (columns[key] ? columns[key][i] : null);
  const text = (kind, place) => (place === null ? "" : texts[kind][place]);
  const words = (reason) => reason.replaceAll("_", " ");
  const reasonOf = (i) => text("reasons", get("reason", i));
  const categoryOf = (i) => text("categories", get("category", i)) || "no category";
  const isCopy = (i) => (get("likeness", i) ?? 0) >= data.alike;
  const isAccepted = (i) => reasonOf(i) === "accepted";

  function make(tag, options = {}, ...children) {
    const element = document.createElement(tag);
    for (const [key, value] of Object.entries(options)) {
      if (key === "class") element.className = value;
      else if (key === "text") element.textContent = value;
      else element.setAttribute(key, value);
    }
    element.append(...children);
    return element;
  }

  function shape(tag, attributes) {
    const element = document.createElementNS(SVG, tag);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  }

  // Pictures: a sheet becomes a picture when one of its cells is shown for the first time.
  function bytesOf(base64) {
    if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
    const letters = atob(base64);
    const bytes = new Uint8Array(letters.length);
    for (let k = 0; k < letters.length; k += 1) bytes[k] = letters.charCodeAt(k);
    return bytes;
  }
  const urls = new Map();
  function sheetUrl(id) {
    if (!urls.has(id)) {
      const bytes = bytesOf(byId(id).textContent);
      urls.set(id, URL.createObjectURL(new Blob([bytes], { type: "image/webp" })));
    }
    return urls.get(id);
  }

  const firsts = (sheets) => {
    let sum = 0;
    return sheets.map((sheet) => (sum += sheet.count) - sheet.count);
  };
  const sheetsOf = { sheet: data.sheets, start: data.starts, near: data.nears };
  const first = { sheet: firsts(data.sheets), start: firsts(data.starts), near: firsts(data.nears) };

  function windowOf(kind, cell, size, half) {
    const starts = first[kind];
    let number = starts.length - 1;
    while (starts[number] > cell) number -= 1;
    const sheet = sheetsOf[kind][number];
    const place = cell - starts[number];
    const wide = Math.min(data.columnsOfSheet, sheet.count);
    const sheetWidth = wide * 2 * sheet.side;
    const sheetHeight = Math.ceil(sheet.count / data.columnsOfSheet) * sheet.side;
    const x = (place % data.columnsOfSheet) * 2 * sheet.side + half * sheet.side;
    const y = Math.floor(place / data.columnsOfSheet) * sheet.side;
    const [width, height] = size;
    const element = make("div", { class: "window" });
    const share = (offset, room) => (room > 0 ? (100 * offset) / room : 0);
    element.style.aspectRatio = `${width} / ${height}`;
    element.style.backgroundImage = `url("${sheetUrl(`${kind}-${number}`)}")`;
    element.style.backgroundSize = `${(100 * sheetWidth) / width}% ${(100 * sheetHeight) / height}%`;
    element.style.backgroundPosition = `${share(x, sheetWidth - width)}% ${share(y, sheetHeight - height)}%`;
    return element;
  }

  function marks(i, after) {
    const svg = shape("svg", { viewBox: "0 0 1000 1000", preserveAspectRatio: "xMidYMid meet", "aria-hidden": "true" });
    const box = (corners, kind) => {
      if (!corners) return;
      const [x1, y1, x2, y2] = corners;
      const place = { x: x1, y: y1, width: Math.max(0, x2 - x1), height: Math.max(0, y2 - y1) };
      svg.append(shape("rect", { class: "under", ...place }), shape("rect", { class: kind, ...place }));
    };
    box(get("planned", i), "planned");
    if (after) {
      box(get("box", i), "fitted");
      for (const ring of get("outline", i) || []) {
        const points = [];
        for (let k = 0; k < ring.length; k += 2) points.push(`${ring[k]} ${ring[k + 1]}`);
        svg.append(shape("path", { class: "outline", d: `M${points.join("L")}Z` }));
      }
    }
    return svg;
  }

  function pictures(i, half) {
    const element = windowOf("sheet", get("cell", i), get("size", i), half);
    element.append(marks(i, half === 1));
    return element;
  }

  // What is said of an attempt.
  function title(i) {
    const replaced = get("replaced", i);
    const name = replaced === null ? categoryOf(i) : `${text("categories", replaced)} → ${categoryOf(i)}`;
    return `#${i} ${name}`;
  }
  function verdict(i) {
    const score = get("score", i);
    if (isAccepted(i)) {
      if (!data.filtered && get("kept", i)) return "kept, not filtered";
      const word = get("kept", i) ? "accepted" : get("vetoed", i) ? "struck out before" : "accepted, not needed";
      return word + (score === null ? "" : ` ${score.toFixed(2)}`);
    }
    const found = get("found", i);
    let line = words(reasonOf(i));
    if (line === "low iou") line += ` ${get("iou", i).toFixed(2)}`;
    if (score) line += `, score ${score.toFixed(2)}`;
    if (found !== null) {
      const word = reasonOf(i) === "wrong_class" ? "found" : "also";
      line += `, ${word} ${text("categories", found)} ${get("found_score", i).toFixed(2)}`;
    }
    const label = get("label", i);
    if (label !== null) line += `, behind ${text("labels", label)}`;
    return line;
  }

  // Objects struck out; kept by the browser, so that a reload forgets nothing.
  const storageKey = `augsynth veto ${data.run} ${location.pathname}`;
  let struck = new Set();
  try {
    const held = JSON.parse(localStorage.getItem(storageKey) || "[]");
    if (Array.isArray(held)) struck = new Set(held.filter((i) => Number.isInteger(i) && get("kept", i)));
  } catch { /* a browser that keeps nothing */ }

  function strike(i) {
    if (!get("kept", i)) return;
    if (!struck.delete(i)) struck.add(i);
    showStruck();
  }
  function showStruck() {
    try { localStorage.setItem(storageKey, JSON.stringify([...struck])); } catch { /* as above */ }
    byId("veto").hidden = !struck.size;
    byId("veto-count").textContent = struck.size === 1 ? "1 object struck out." : `${struck.size} objects struck out.`;
    for (const tile of byId("tiles").querySelectorAll(".tile")) {
      const out = struck.has(Number(tile.dataset.attempt));
      tile.classList.toggle("struck", out);
      tile.querySelector(".strike")?.setAttribute("aria-pressed", String(out));
    }
    if (closer.open) byId("closer-strike").setAttribute("aria-pressed", String(struck.has(shownCloser)));
  }
  byId("save").addEventListener("click", () => {
    const list = { augsynth_veto: 1, attempts: [...struck].sort((a, b) => a - b) };
    const url = URL.createObjectURL(new Blob([JSON.stringify(list) + "\n"], { type: "application/json" }));
    make("a", { href: url, download: "veto.json" }).click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  });
  byId("clear").addEventListener("click", () => {
    struck.clear();
    showStruck();
    byId("gallery").focus();
  });

  // Filters.
  function fill(select, entries) {
    select.replaceChildren(...entries.map(([value, name]) => make("option", { value, text: name })));
  }
  const numbers = (key) => {
    const found = new Map();
    for (let i = 0; i < count; i += 1) found.set(get(key, i), (found.get(get(key, i)) || 0) + 1);
    found.delete(null);
    return [...found].sort((a, b) => b[1] - a[1]);
  };
  fill(byId("by-category"), [["", "all"], ...numbers("category").map(([k, n]) => [k, `${texts.categories[k]} (${n})`])]);
  fill(byId("by-reason"), [["", "all"], ...numbers("reason").map(([k, n]) => [k, `${words(texts.reasons[k])} (${n})`])]);

  let chosen = [];
  let page = 0;
  function choose() {
    const category = byId("by-category").value;
    const kind = byId("by-verdict").value;
    const reason = byId("by-reason").value;
    chosen = [];
    for (let i = 0; i < count; i += 1) {
      if (category !== "" && get("category", i) !== Number(category)) continue;
      if (reason !== "" && get("reason", i) !== Number(reason)) continue;
      if (kind === "struck" ? !struck.has(i) : kind !== "" && isAccepted(i) !== (kind === "accepted")) continue;
      chosen.push(i);
    }
    const keys = {
      near: (i) => Math.abs(get("margin", i) ?? Infinity),
      low: (i) => get("score", i) ?? Infinity,
      high: (i) => -(get("score", i) ?? -Infinity),
      copy: (i) => -(get("likeness", i) ?? -Infinity),
    };
    const key = keys[byId("order").value];
    if (key) chosen.sort((a, b) => key(a) - key(b) || a - b);
    page = 0;
    show();
  }

  function tileOf(i) {
    const pair = make("div", { class: "pair" });
    const instead = get("cell", i) !== null ? "" : get("planned", i) ? "no picture" : "nothing was painted";
    if (instead) pair.append(make("p", { class: "empty", text: instead }));
    else pair.append(pictures(i, 0), pictures(i, 1));
    const label = `${[title(i), verdict(i), instead].filter(Boolean).join(", ")}: look closer`;
    const open = make("button", { type: "button", class: "open", "aria-label": label }, pair);
    open.addEventListener("click", () => lookCloser(i));
    const name = make("p", { class: "name", dir: "auto", text: title(i) });
    const said = make("p", { class: isAccepted(i) ? "good" : "bad", dir: "auto", text: verdict(i) });
    const foot = make("div", { class: "foot" }, make("div", {}, name, said));
    if (get("kept", i)) {
      const button = make("button", { type: "button", class: "strike", "aria-pressed": String(struck.has(i)), text: "Strike out" });
      button.setAttribute("aria-label", `Strike out ${title(i)}`);
      button.addEventListener("click", () => strike(i));
      foot.append(button);
    }
    const state = `${isAccepted(i) ? "accepted" : "rejected"}${struck.has(i) ? " struck" : ""}`;
    return make("li", { class: `tile ${state}`, "data-attempt": i }, open, foot);
  }

  function show() {
    const pages = Math.max(1, Math.ceil(chosen.length / PAGE));
    const begin = page * PAGE;
    const part = chosen.slice(begin, begin + PAGE);
    byId("tiles").replaceChildren(...part.map(tileOf));
    byId("shown").textContent = part.length
      ? `Attempts ${(begin + 1).toLocaleString("en")} to ${(begin + part.length).toLocaleString("en")} of ${chosen.length.toLocaleString("en")}${chosen.length < count ? `, out of ${count.toLocaleString("en")}` : ""}.`
      : count ? "No attempt is like that; choose another filter." : "There is no attempt yet.";
    byId("pager").hidden = pages < 2;
    byId("page").textContent = `Page ${page + 1} of ${pages}`;
    byId("previous").disabled = page === 0;
    byId("next").disabled = page + 1 >= pages;
  }
  function turn(step, focus) {
    const pages = Math.ceil(chosen.length / PAGE);
    if (page + step < 0 || page + step >= pages) return;
    page += step;
    show();
    byId("gallery").scrollIntoView({ block: "start" });
    if (focus) byId("tiles").querySelector(".open")?.focus({ preventScroll: true });
  }
  byId("previous").addEventListener("click", () => turn(-1, true));
  byId("next").addEventListener("click", () => turn(1, true));
  for (const id of ["by-category", "by-verdict", "by-reason", "order"]) byId(id).addEventListener("change", choose);
  byId("marks").addEventListener("change", (event) => document.body.classList.toggle("no-marks", !event.target.checked));
  byId("controls").addEventListener("submit", (event) => event.preventDefault());

  byId("tiles").addEventListener("keydown", (event) => {
    const tile = event.target.closest(".tile");
    if (!tile || event.ctrlKey || event.metaKey || event.altKey) return;
    const all = [...byId("tiles").children];
    const here = all.indexOf(tile);
    const wide = all.filter((other) => other.offsetTop === all[0].offsetTop).length;
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: wide, ArrowUp: -wide };
    if (event.key in steps) {
      const next = all[Math.min(all.length - 1, Math.max(0, here + steps[event.key]))];
      next.querySelector(".open").focus();
      next.scrollIntoView({ block: "nearest" });
    } else if (event.key === "x") strike(Number(tile.dataset.attempt));
    else if (event.key === "n") turn(1, true);
    else if (event.key === "p") turn(-1, true);
    else return;
    event.preventDefault();
  });

  // One attempt, larger.
  const closer = byId("closer");
  let shownCloser = -1;
  function facts(i) {
    const rows = [];
    const add = (name, value) => { if (value !== null && value !== undefined && value !== "") rows.push([name, value]); };
    const advice = data.advice[reasonOf(i)];
    add("Verdict", verdict(i) + (advice && !isAccepted(i) ? `. ${advice.means}; ${advice.do}.` : ""));
    add("Why", text("details", get("detail", i)));
    const margin = get("margin", i);
    if (margin !== null) add("Score", `${get("score", i).toFixed(3)}, ${Math.abs(margin).toFixed(3)} ${margin >= 0 ? "above" : "below"} its threshold`);
    if (get("iou", i)) add("Overlap with the plan", `IoU ${get("iou", i).toFixed(2)}`);
    const rank = get("rank", i);
    if (rank !== null) add("Classifier", `rank ${rank}${get("label", i) === null ? "" : `, behind ${text("labels", get("label", i))}`}`);
    add("Prompt", text("prompts", get("prompt", i)));
    add("Negative prompt", text("prompts", get("negative", i)));
    add("Seed", get("seed", i));
    add("Source image", text("files", get("source", i)));
    add("New image", text("files", get("image", i)));
    const place = get("window", i);
    if (place) add("Window in the image", `x ${place[0]} to ${place[2]}, y ${place[1]} to ${place[3]}`);
    if (get("near", i) !== null) {
      const [file, x1, y1, x2, y2] = data.nearPlaces[get("near", i)];
      const same = isCopy(i) ? "; nearly the same, so it may be a copy" : "";
      add("Most like the real object in", `${file}, x ${x1} to ${x2}, y ${y1} to ${y2}: likeness ${get("likeness", i).toFixed(2)} of 1${same}`);
    }
    if (get("start", i) !== null) add("Real object it began from", `number ${get("start", i)} of the bank, shown above`);
    add("Attempt", `${i} in provenance.jsonl; new image ${get("job", i)}${get("slot", i) === null ? "" : `, object ${get("slot", i)}, try ${get("retry", i)}`}`);
    add("Repeat it", `${data.command}  (the same run: this is its attempt ${i})`);
    return rows.flatMap(([name, value]) => [make("dt", { text: name }), make("dd", { dir: "auto", text: value })]);
  }
  function lookCloser(i) {
    shownCloser = i;
    byId("closer-title").textContent = title(i);
    closer.className = isAccepted(i) ? "accepted" : "rejected";
    const parts = [];
    const part = (name, ...rest) => parts.push(make("div", {}, make("p", { text: name }), ...rest));
    if (get("cell", i) !== null) {
      part("before", pictures(i, 0));
      part("after", pictures(i, 1));
      const start = get("start", i);
      const place = start === null ? -1 : data.startNumbers.indexOf(start);
      if (place >= 0) {
        part("the real object it began from", windowOf("start", place, data.startSizes[place], 0));
        part("the same, cut out", windowOf("start", place, data.startSizes[place], 1));
      }
    }
    const near = get("near", i);
    if (near !== null) {
      const side = data.nears[0].side;
      part(`the real object it is most like${isCopy(i) ? ": nearly the same" : ""}`, windowOf("near", Math.floor(near / 2), [side, side], near % 2));
    }
    byId("closer-windows").replaceChildren(...parts);
    byId("closer-windows").classList.toggle("four", parts.length > 2);
    byId("closer-facts").replaceChildren(...facts(i));
    byId("closer-strike").hidden = !get("kept", i);
    byId("closer-strike").setAttribute("aria-pressed", String(struck.has(i)));
    const here = chosen.indexOf(i);
    byId("closer-previous").disabled = here <= 0;
    byId("closer-next").disabled = here + 1 >= chosen.length;
    if (!closer.open) closer.showModal();
    closer.scrollTop = 0;
  }
  function step(by) {
    const next = chosen[chosen.indexOf(shownCloser) + by];
    if (next !== undefined) lookCloser(next);
  }
  byId("close").addEventListener("click", () => closer.close());
  byId("closer-previous").addEventListener("click", () => step(-1));
  byId("closer-next").addEventListener("click", () => step(1));
  byId("closer-strike").addEventListener("click", () => strike(shownCloser));
  closer.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "ArrowRight") step(1);
    else if (event.key === "ArrowLeft") step(-1);
    else if (event.key === "x") strike(shownCloser);
    else return;
    event.preventDefault();
  });
  closer.addEventListener("close", () => {
    const place = chosen.indexOf(shownCloser);
    if (place >= 0 && Math.floor(place / PAGE) !== page) {
      page = Math.floor(place / PAGE);
      show();
    }
    byId("tiles").querySelector(`[data-attempt="${shownCloser}"] .open`)?.focus();
  });

  // Where real and painted objects lie.
  function drawMap() {
    const wanted = byId("place-category").value;
    const WIDTH = 480, HEIGHT = 360;
    const svg = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-labelledby": "map-words" });
    const grids = wanted === "" ? Object.values(data.grid) : [data.grid[data.categoryIds[Number(wanted)]]].filter(Boolean);
    let real = 0;
    if (grids.length) {
      const rows = grids[0].length;
      const sums = grids[0].map((row, y) => row.map((_, x) => grids.reduce((sum, grid) => sum + grid[y][x], 0)));
      const most = Math.max(1, ...sums.flat());
      real = sums.flat().reduce((a, b) => a + b, 0);
      sums.forEach((row, y) => row.forEach((n, x) => {
        if (!n) return;
        const opacity = (0.12 + 0.68 * Math.sqrt(n / most)).toFixed(2);
        svg.append(shape("rect", { class: "cell", x: (x * WIDTH) / rows, y: (y * HEIGHT) / rows, width: WIDTH / rows, height: HEIGHT / rows, opacity }));
      }));
    }
    let dots = 0;
    for (let i = 0; i < count; i += 1) {
      const centre = get("centre", i);
      if (!get("kept", i) || !centre || (wanted !== "" && get("category", i) !== Number(wanted))) continue;
      dots += 1;
      svg.append(shape("circle", { class: "dot", r: 4, cx: (centre[0] * WIDTH) / 1000, cy: (centre[1] * HEIGHT) / 1000 }));
    }
    byId("map").replaceChildren(svg);
    byId("map-words").textContent = `Shaded: centres of ${real.toLocaleString("en")} real objects in their images, all stretched to one shape; the stronger the colour, the more. Dots: centres of ${dots.toLocaleString("en")} painted objects that were kept.`;
  }
  fill(byId("place-category"), [["", "all"], ...numbers("category").map(([k]) => [k, texts.categories[k]])]);
  byId("place-category").addEventListener("change", drawMap);
  byId("place-controls").addEventListener("submit", (event) => event.preventDefault());

  byId("controls").hidden = byId("place-controls").hidden = byId("keys").hidden = false;
  choose();
  drawMap();
  showStruck();
})();
