"use strict";
// The gallery: one image at a time under all systems, filtered by class, type and score. Without this script the page
// shows all images at each system's first score.
(() => {
  const $ = (id) => document.getElementById(id);
  const gallery = $("gallery");
  if (!gallery) return;
  const articles = [...gallery.querySelectorAll("article")];
  const filters = $("filters");
  const layers = $("layers");
  const thumbs = articles.map(thumb);
  let current = 0;

  // The slider's middle is a system's first score, its ends are the least and the greatest score on the page.
  function least({ floor, start, top }, position) {
    if (position <= 0) return +floor;
    if (position >= 100) return +top;
    return position <= 50
      ? +start - ((+start - +floor) * (50 - position)) / 50
      : +start + ((+top - +start) * (position - 50)) / 50;
  }

  function draw(figure, category, type, position) {
    const from = least(figure.dataset, position);
    figure.querySelector(".from").textContent = from.toFixed(2);
    let shown = 0;
    for (const box of figure.querySelectorAll(".d")) {
      const { score, type: kind } = box.dataset;
      const visible = +score >= from && (!category || box.dataset.class === category) && (!type || kind === type);
      box.classList.toggle("off", !visible);
      shown += visible;
    }
    for (const object of figure.querySelectorAll(".o")) {
      const { detected } = object.dataset;
      const of_class = !category || object.dataset.class === category;
      const open = !object.classList.contains("dim") && !(detected !== undefined && +detected >= from);
      const missed = of_class && open && (!type || type === "Missed");
      object.classList.toggle("missed", missed);
      object.classList.toggle("off", !of_class);
      shown += missed;
    }
    return shown;
  }

  function update() {
    const category = filters ? $("class").value : "";
    const type = filters ? filters.elements.type.value : "";
    const position = filters ? +$("score").value : 50;
    const narrowed = Boolean(category || type);
    const matching = articles.filter((article, i) => {
      let shown = 0;
      for (const figure of article.querySelectorAll("figure[data-system]")) {
        shown += draw(figure, category, type, position);
      }
      const matches = !narrowed || shown > 0;
      article.classList.toggle("none-here", !matches);
      thumbs[i].hidden = !matches;
      return matches;
    });
    if (matching.length && !matching.includes(articles[current])) current = articles.indexOf(matching[0]);
    if (filters) $("score-text").value = position === 50 ? "as at first" : `${position} %`;
    show();
  }

  function show() {
    const all = layers.elements.all.checked;
    for (const { name, checked } of layers.elements) gallery.classList.toggle(name, checked !== name.startsWith("hide"));
    gallery.classList.toggle("one", !all);
    $("viewer").hidden = all;
    articles.forEach((article, i) => {
      article.classList.toggle("current", i === current);
      thumbs[i].setAttribute("aria-pressed", i === current);
    });
    const open = matching();
    const place = open.indexOf(current) + 1;
    $("count").textContent = open.length
      ? `${all ? `${open.length} images` : `Image ${place} of ${open.length}`}${open.length < articles.length ? ` that match, of ${articles.length}` : ""}`
      : "No image has such a detection at this score.";
  }

  function matching() {
    return articles.map((_, i) => i).filter((i) => !articles[i].classList.contains("none-here"));
  }

  function step(by) {
    const open = matching();
    if (!open.length) return;
    current = open[(open.indexOf(current) + by + open.length) % open.length];
    show();
    const strip = $("strip");
    strip.scrollLeft = thumbs[current].offsetLeft - strip.offsetLeft - strip.clientWidth / 2;
  }

  function thumb(article, i) {
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-label", article.getAttribute("aria-label"));
    const picture = article.querySelector("svg").cloneNode(false);
    picture.append(article.querySelector("use").cloneNode(false));
    picture.removeAttribute("role");
    picture.removeAttribute("aria-label");
    picture.setAttribute("aria-hidden", "true");
    button.append(picture);
    button.addEventListener("click", () => {
      current = i;
      show();
    });
    $("strip").append(button);
    return button;
  }

  if (filters) {
    filters.hidden = false;
    for (const event of ["input", "change"]) filters.addEventListener(event, update);
    filters.addEventListener("submit", (event) => event.preventDefault());
  }
  layers.hidden = false;
  layers.addEventListener("input", show);
  $("previous").addEventListener("click", () => step(-1));
  $("next").addEventListener("click", () => step(1));
  $("viewer").addEventListener("keydown", ({ key }) => {
    if (key === "ArrowLeft") step(-1);
    if (key === "ArrowRight") step(1);
  });
  update();
})();
