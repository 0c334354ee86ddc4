"use strict";
// The gallery: draws the test images that are looked at, under all systems, filtered by class, type and score, or in the
// order of a system's worst images or surest errors. What there is to draw stands as JSON in the page (gallery.py).
(() => {
  const $ = (id) => document.getElementById(id);
  if (!$("pictures")) return;
  const { classes, systems, images } = JSON.parse($("pictures").textContent);
  const gallery = $("gallery");
  const filters = $("filters");
  const layers = $("layers");
  const TOGETHER = 24; // Images in the strip, and of "many images".
  const LABEL_SHARE = 0.05; // Height of a label, of the picture's width on the page.
  let items = []; // What is stepped through: an image, and a system and a detection where it is a list of these.
  let current = 0;

  // --- what is to be seen -----------------------------------------------------------------------------------------

  function wanted() {
    if (!filters) return { list: "", label: 0, type: "", position: 50 };
    const [list, name] = $("list").value.split(" ");
    const system = systems.find((each) => each.name === name);
    return { list, system, label: +$("class").value, type: filters.elements.type.value, position: +$("score").value };
  }

  // The slider's middle is the first score of a class, its ends are the least and the greatest score of the system.
  function least({ floor, start, top }, label, position) {
    const first = start[label - 1];
    const low = Math.min(floor, first);
    if (position <= 0) return low;
    if (position >= 100) return top;
    return position <= 50 ? first - ((first - low) * (50 - position)) / 50 : first + ((top - first) * (position - 50)) / 50;
  }

  function passes([label, type, score], system, filter) {
    return (
      (!filter.label || label === filter.label) &&
      (!filter.type || type === filter.type) &&
      score >= least(system, label, filter.position)
    );
  }

  // The detections that are to be seen, the best last so that it lies on top, and which objects stand out as missed.
  function visible(image, i, filter) {
    const { found, claimed } = image.systems[i];
    const missed = image.objects.map(
      ([label, ignored], place) =>
        !ignored &&
        (!filter.label || label === filter.label) &&
        (!filter.type || filter.type === "Missed") &&
        !(claimed[place] !== null && claimed[place] >= least(systems[i], label, filter.position)),
    );
    return { found: found.filter((one) => passes(one, systems[i], filter)).reverse(), missed };
  }

  function shows(image, i, filter) {
    const { found, missed } = visible(image, i, filter);
    return found.length > 0 || missed.includes(true);
  }

  function listed(filter) {
    const narrowed = Boolean(filter.label || filter.type);
    const { list, system } = filter;
    const i = systems.indexOf(system);
    if (list === "surest") {
      return system.surest
        .filter(([at, place]) => passes(images[at].systems[i].found[place], system, filter))
        .map(([at, place]) => ({ image: images[at], i, detection: images[at].systems[i].found[place] }));
    }
    if (list === "worst") {
      return system.worst
        .filter(([at]) => !narrowed || shows(images[at], i, filter))
        .map(([at, weight]) => ({ image: images[at], i, weight }));
    }
    return images.filter((image) => !narrowed || systems.some((_, k) => shows(image, k, filter))).map((image) => ({ image }));
  }

  // --- drawing ------------------------------------------------------------------------------------------------------

  function html(tag, attributes = {}, ...children) {
    return built(document.createElement(tag), attributes, children);
  }

  function svg(tag, attributes = {}, ...children) {
    return built(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
  }

  function built(element, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  function frames(x, y, width, height) {
    return ["under", "line"].map((name) => svg("rect", { class: name, x, y, width, height }));
  }

  function picture({ file, size, photo }, ...boxes) {
    const [width, height] = size;
    const href = `data:image/webp;base64,${photo}`;
    const image = svg("image", { width, height, preserveAspectRatio: "none", href });
    return svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": file }, image, ...boxes);
  }

  function object([label, ignored, ...box], missed) {
    const words = `${classes[label - 1][0]} (ground truth${ignored ? ", ignored" : ""})`;
    const name = `o${ignored ? " dim" : ""}${missed ? " missed" : ""}`;
    return svg("g", { class: name, "data-class": label }, svg("title", {}, words), ...frames(...box));
  }

  function detection(one, { size }, pointed) {
    const [label, type, score, ...box] = one;
    const [name, colour, ink] = classes[label - 1];
    const text = `${name} ${score.toFixed(2)}`;
    const attributes = { class: `d ${type}${pointed ? " pointed" : ""}`, style: `--k:${colour};--i:${ink}` };
    const data = { "data-class": label, "data-score": score, "data-type": type };
    const title = svg("title", {}, `${text} (${type})`);
    return svg("g", { ...attributes, ...data }, title, ...frames(...box), tag(text, box, size));
  }

  // On the upper edge of its box, or below that edge where there is no room; never past the image.
  function tag(text, [x, y], [width, height]) {
    const ratio = +getComputedStyle(gallery).getPropertyValue("--ratio");
    const high = LABEL_SHARE * Math.max(width, height * ratio);
    const columns = [...text].reduce((sum, letter) => sum + (WIDE.test(letter) ? 2 : 1), 0);
    const wide = high * (0.5 + 0.42 * columns);
    const left = Math.max(0, Math.min(x, width - wide));
    const top = y >= high ? y - high : y;
    const words = {
      x: left + high * 0.2,
      y: top + high * 0.77,
      "font-size": high * 0.78,
      textLength: wide - high * 0.4,
      lengthAdjust: "spacingAndGlyphs",
    };
    const rect = svg("rect", { x: left, y: top, width: wide, height: high });
    return svg("g", { class: "tag" }, rect, svg("text", words, text));
  }

  function figure(image, i, filter, pointed) {
    const { found, missed } = visible(image, i, filter);
    const objects = image.objects.map((each, place) => object(each, missed[place]));
    const boxes = found.map((one) => detection(one, image, one === pointed));
    const { name, title, colour } = systems[i];
    const key = html("span", { class: "key" }, html("i", { style: `--c:${colour}` }), title);
    const caption = html("figcaption", {}, key, " ", html("small", { class: "from" }, `from ${from(systems[i], filter)}`));
    return html("figure", { "data-system": name }, picture(image, ...objects, ...boxes), caption);
  }

  function from(system, { label, position }) {
    const labels = label ? [label] : classes.map((_, place) => place + 1);
    const scores = labels.map((each) => least(system, each, position).toFixed(2));
    const [low, high] = [Math.min(...scores).toFixed(2), Math.max(...scores).toFixed(2)];
    return low === high ? low : `${low} to ${high} by class`;
  }

  function article({ image, i, detection: pointed }, filter) {
    const truth = image.objects.map((each) => object(each, false));
    const figures = systems.length
      ? systems.map((_, k) => figure(image, k, filter, k === i ? pointed : undefined))
      : [html("figure", {}, picture(image, ...truth))];
    const file = html("p", { class: "file" }, image.file);
    return html("article", { "data-number": images.indexOf(image) + 1, "aria-label": image.file }, file, ...figures);
  }

  function thumb(item, place) {
    const button = html("button", { type: "button", "aria-label": item.image.file, "aria-pressed": place === current });
    const small = picture(item.image);
    for (const name of ["role", "aria-label"]) small.removeAttribute(name);
    button.append(built(small, { "aria-hidden": "true" }, []));
    button.addEventListener("click", () => go(place));
    return button;
  }

  // --- the page -----------------------------------------------------------------------------------------------------

  function update() {
    const shown = items[current];
    items = listed(wanted());
    const same = shown && items.findIndex((item) => item.image === shown.image && item.detection === shown.detection);
    go(same > 0 ? same : 0);
  }

  function go(place) {
    current = place;
    const filter = wanted();
    const many = layers.elements.many.checked;
    const first = TOGETHER * Math.floor(current / TOGETHER);
    const together = items.slice(first, first + TOGETHER);
    for (const { name, checked } of layers.elements) gallery.classList.toggle(name, checked !== name.startsWith("hide"));
    gallery.replaceChildren(...(many ? together : items.slice(current, current + 1)).map((item) => article(item, filter)));
    $("strip").replaceChildren(...together.map((item, k) => thumb(item, first + k)));
    const pressed = $("strip").children[current - first];
    if (pressed) $("strip").scrollLeft = pressed.offsetLeft - $("strip").offsetLeft - $("strip").clientWidth / 2;
    if (filters) $("score-text").value = filter.position === 50 ? "as at first" : `${filter.position} %`;
    $("count").textContent = items.length ? words(filter, many, first, together.length) : NOTHING;
    $("rule").hidden = !filter.list;
    $("rule").textContent = RULES[filter.list] ?? "";
  }

  function words({ list }, many, first, count) {
    const { image, i, weight, detection: one } = items[current];
    const kind = list === "surest" ? "Error" : "Image";
    const place = many ? `${kind}s ${first + 1} to ${first + count}` : `${kind} ${current + 1}`;
    const all = !list && items.length < images.length ? ` that match, of ${images.length}` : "";
    const about = one
      ? `: ${classes[one[0] - 1][0]} ${one[2].toFixed(2)} (${one[1]}) by ${systems[i].title} in ${image.file}`
      : list
        ? `: errors of ${systems[i].title} that weigh ${weight.toFixed(2)}`
        : "";
    return `${place} of ${items.length}${all}${many ? "" : about}`;
  }

  function step(by) {
    if (!items.length) return;
    const many = layers.elements.many.checked;
    const first = TOGETHER * Math.floor(current / TOGETHER);
    const next = many ? first + by * TOGETHER : current + by;
    go(next < 0 ? items.length - 1 : next >= items.length ? 0 : next);
  }

  const WIDE = /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe4f\uff00-\uff60\uffe0-\uffe6]/;
  const NOTHING = "No image has such a detection at this score.";
  const RULES = {
    worst:
      "The worst first: an object that is missed weighs 1, a false positive from 0 to 1, the share of the correct " +
      "detections of its class that it outranks. Weighed at the first scores.",
    surest:
      "False positives at the first scores. First those that outrank most of the correct detections of their class, " +
      "then by score.",
  };

  if (filters) {
    filters.hidden = false;
    for (const event of ["input", "change"]) filters.addEventListener(event, update);
    filters.addEventListener("submit", (event) => event.preventDefault());
  }
  layers.hidden = false;
  $("viewer").hidden = false;
  layers.addEventListener("input", () => go(current));
  $("previous").addEventListener("click", () => step(-1));
  $("next").addEventListener("click", () => step(1));
  $("viewer").addEventListener("keydown", ({ key }) => {
    if (key === "ArrowLeft") step(-1);
    if (key === "ArrowRight") step(1);
  });
  update();
})();
