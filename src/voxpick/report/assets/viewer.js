"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const text = atob(document.getElementById("voxels").textContent.trim());
  const voxels = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) voxels[i] = text.charCodeAt(i);
  const [NZ, NY, NX] = data.binnedShape;
  const strides = [NY * NX, NX, 1];
  const sides = [NZ, NY, NX];
  const factor = data.factor;
  const names = ["z", "y", "x"];
  const $ = (id) => document.getElementById(id);

  // Position in voxels of the full volume, [z, y, x]; a plane shows the binned slice that holds it.
  const at = data.shape.map((n) => Math.floor(n / 2));
  const hidden = new Set();
  // Each plane: the axis it cuts, the axis drawn downwards, the axis drawn to the right.
  const planes = [["xy", 0, 1, 2], ["yz", 2, 1, 0], ["xz", 1, 0, 2]].map(([id, cut, down, right]) => {
    const canvas = $(id);
    const small = document.createElement("canvas");
    small.width = sides[right];
    small.height = sides[down];
    return { canvas, small, cut, down, right, caption: canvas.parentNode.querySelector("span"), scale: 1 };
  });

  function layout() {
    const box = $("planes");
    const room = Math.max(260, box.clientWidth - 12);
    const scale = Math.min(room / (NX + NZ), 760 / (NY + NZ), 8);
    for (const plane of planes) {
      const width = Math.max(1, Math.round(sides[plane.right] * scale));
      const height = Math.max(1, Math.round(sides[plane.down] * scale));
      const dense = window.devicePixelRatio || 1;
      plane.canvas.style.width = width + "px";
      plane.canvas.style.height = height + "px";
      plane.canvas.width = Math.round(width * dense);
      plane.canvas.height = Math.round(height * dense);
      plane.scale = scale * dense / factor;
    }
  }

  function paintSlice(plane) {
    const { cut, down, right, small } = plane;
    const half = (Number($("thick").value) - 1) / 2;
    const middle = Math.floor(at[cut] / factor);
    const first = Math.max(0, middle - half), last = Math.min(sides[cut] - 1, middle + half);
    const black = Number($("black").value), white = Number($("white").value);
    const gain = 255 / (Math.max(1, Math.abs(white - black)) * (white < black ? -1 : 1));
    const context = small.getContext("2d");
    const image = context.createImageData(small.width, small.height);
    let out = 0;
    for (let r = 0; r < small.height; r++) {
      for (let c = 0; c < small.width; c++) {
        const base = r * strides[down] + c * strides[right];
        let sum = 0;
        for (let k = first; k <= last; k++) sum += voxels[base + k * strides[cut]];
        const grey = (sum / (last - first + 1) - black) * gain;
        image.data[out] = image.data[out + 1] = image.data[out + 2] = grey;
        image.data[out + 3] = 255;
        out += 4;
      }
    }
    context.putImageData(image, 0, 0);
  }

  const radius = (particle) => data.classes[particle[3]].radius * Number($("size").value);

  function circles(plane, context, particles, dashed) {
    const { cut, down, right, scale } = plane;
    const dense = window.devicePixelRatio || 1;
    context.setLineDash(dashed ? [4 * dense, 3 * dense] : []);
    context.lineWidth = (dashed ? 1.3 : 1.8) * dense;
    for (const particle of particles) {
      const away = particle[cut] - at[cut], reach = radius(particle);
      if (Math.abs(away) > reach) continue;
      context.strokeStyle = data.classes[particle[3]].colour;
      context.beginPath();
      const size = Math.max(2 * dense, Math.sqrt(reach * reach - away * away) * scale);
      context.arc((particle[right] + 0.5) * scale, (particle[down] + 0.5) * scale, size, 0, 2 * Math.PI);
      context.stroke();
    }
  }

  const threshold = () => Number($("score").value);
  function visible() {
    const only = $("only-false").checked;
    return data.picks.filter((p) => p[4] >= threshold() - 1e-9 && !hidden.has(p[3]) && !(only && p[5]));
  }

  function paint(plane, shown) {
    paintSlice(plane);
    const { canvas, small, cut, down, right, scale } = plane;
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = true;
    context.drawImage(small, 0, 0, canvas.width, canvas.height);
    if ($("show-truth").checked) circles(plane, context, data.truth.filter((p) => !hidden.has(p[3])), true);
    if ($("show-picks").checked) circles(plane, context, shown, false);
    context.setLineDash([]);
    context.lineWidth = 1;
    context.strokeStyle = "rgba(255, 210, 60, 0.55)";
    context.beginPath();
    context.moveTo((at[right] + 0.5) * scale, 0);
    context.lineTo((at[right] + 0.5) * scale, canvas.height);
    context.moveTo(0, (at[down] + 0.5) * scale);
    context.lineTo(canvas.width, (at[down] + 0.5) * scale);
    context.stroke();
    plane.caption.textContent = `at ${names[cut]} = ${at[cut]}`;
  }

  function atThreshold() {
    const curve = data.curve;
    if (!curve || !curve.threshold.length) return "";
    let best = -1;
    curve.threshold.forEach((value, i) => { if (value >= threshold() - 1e-9) best = i; });
    if (best < 0) return "";
    return ` · precision ${curve.precision[best].toFixed(3)}, recall ${curve.recall[best].toFixed(3)}`;
  }

  function paintAll() {
    const shown = visible();
    for (const plane of planes) paint(plane, shown);
    names.forEach((name, k) => { $(name).value = at[k]; $(name + "-out").textContent = at[k]; });
    $("score-out").textContent = threshold().toFixed(2);
    $("thick-out").textContent = `${(Number($("thick").value) * factor * data.voxelSize / 10).toFixed(1)} nm`;
    $("size-out").textContent = `× ${Number($("size").value).toFixed(1)}`;
    $("count").textContent = `${shown.length} of ${data.picks.length} picks shown${atThreshold()}`;
    const counts = data.classes.map(() => 0);
    for (const p of data.picks) if (p[4] >= threshold() - 1e-9) counts[p[3]]++;
    document.querySelectorAll("#legend span").forEach((node) => {
      const k = Number(node.dataset.k);
      node.textContent = `${counts[k]} / ${data.classes[k].picks}`;
    });
  }

  let waiting = false;
  function refresh() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; paintAll(); });
  }

  function move(axis, value) {
    at[axis] = Math.max(0, Math.min(data.shape[axis] - 1, Math.round(value)));
    refresh();
  }

  function under(plane, event) {
    const box = plane.canvas.getBoundingClientRect();
    const grow = plane.canvas.width / box.width / plane.scale;
    return [(event.clientY - box.top) * grow - 0.5, (event.clientX - box.left) * grow - 0.5];
  }

  function describe(plane, event) {
    const [v, u] = under(plane, event);
    let best = null, nearest = Infinity;
    for (const p of $("show-picks").checked ? visible() : []) {
      const gap = Math.hypot(p[plane.down] - v, p[plane.right] - u, p[plane.cut] - at[plane.cut]);
      if (gap < radius(p) && gap < nearest) { nearest = gap; best = p; }
    }
    const place = [...at];
    place[plane.down] = Math.round(v);
    place[plane.right] = Math.round(u);
    let line = `z ${place[0]}  y ${place[1]}  x ${place[2]}`;
    if (best) {
      line += `  –  ${data.classes[best[3]].name}, score ${best[4].toFixed(3)}`;
      if (best[5] !== null) line += best[5] ? ", on a particle" : ", on no particle";
    }
    $("readout").textContent = line;
  }

  for (const plane of planes) {
    let dragging = false;
    const go = (event) => { const [v, u] = under(plane, event); move(plane.down, v); move(plane.right, u); };
    plane.canvas.addEventListener("pointerdown", (event) => {
      dragging = true; plane.canvas.setPointerCapture(event.pointerId); go(event);
    });
    plane.canvas.addEventListener("pointermove", (event) => { if (dragging) go(event); describe(plane, event); });
    plane.canvas.addEventListener("pointerup", () => { dragging = false; });
    plane.canvas.addEventListener("pointercancel", () => { dragging = false; });
    plane.canvas.addEventListener("wheel", (event) => {
      event.preventDefault(); move(plane.cut, at[plane.cut] + Math.sign(event.deltaY) * factor);
    }, { passive: false });
    plane.canvas.addEventListener("keydown", (event) => {
      const steps = { ArrowUp: [plane.down, -1], ArrowDown: [plane.down, 1], ArrowLeft: [plane.right, -1],
        ArrowRight: [plane.right, 1], PageUp: [plane.cut, 1], PageDown: [plane.cut, -1] };
      const step = steps[event.key];
      if (step) { event.preventDefault(); move(step[0], at[step[0]] + step[1] * factor); }
    });
  }

  names.forEach((name, k) => {
    $(name).min = 0;
    $(name).max = data.shape[k] - 1;
    $(name).addEventListener("input", (event) => move(k, Number(event.target.value)));
  });
  for (const id of ["thick", "black", "white", "score", "size", "show-picks", "show-truth", "only-false"]) {
    $(id).addEventListener("input", refresh);
  }
  $("truth-toggle").hidden = !data.truth.length;
  $("truth-toggle").style.display = data.truth.length ? "" : "none";
  $("false-toggle").style.display = data.picks.some((p) => p[5] !== null) ? "" : "none";

  const legend = $("legend");
  data.classes.forEach((entry, k) => {
    const row = document.createElement("label");
    const box = document.createElement("input");
    box.type = "checkbox";
    box.checked = true;
    box.addEventListener("input", () => { if (box.checked) hidden.delete(k); else hidden.add(k); refresh(); });
    const dot = document.createElement("i");
    dot.style.background = entry.colour;
    const count = document.createElement("span");
    count.dataset.k = k;
    row.append(box, dot, entry.name, count);
    legend.append(row);
  });
  const setAll = (on) => {
    hidden.clear();
    if (!on) data.classes.forEach((_, k) => hidden.add(k));
    legend.querySelectorAll("input").forEach((box) => { box.checked = on; });
    refresh();
  };
  $("all").addEventListener("click", () => setAll(true));
  $("none").addEventListener("click", () => setAll(false));
  window.addEventListener("resize", () => { layout(); refresh(); });
  layout();
  paintAll();
})();
