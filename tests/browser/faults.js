// What a page must not have, by WCAG 2.2 AA and by our own rules, as a list of sentences. Run in the page.
() => {
  const faults = [];
  const all = (selector) => [...document.querySelectorAll(selector)];
  const shown = (part) => part.checkVisibility({ visibilityProperty: true, opacityProperty: true });
  const start = (part) => part.outerHTML.slice(0, 90);

  // Structure
  if (!document.documentElement.lang) faults.push("no language");
  if (!document.title.trim()) faults.push("no title");
  if (all("main").length !== 1) faults.push("not one main");
  const ids = all("[id]").map((part) => part.id);
  for (const id of new Set(ids.filter((id, place) => ids.indexOf(id) !== place))) faults.push(`id ${id} twice`);
  for (const name of ["aria-labelledby", "aria-describedby", "aria-controls", "for"]) {
    for (const part of all(`[${name}]`)) {
      const missing = part.getAttribute(name).split(/\s+/).filter((id) => !ids.includes(id));
      if (missing.length) faults.push(`${name} of nothing: ${missing}`);
    }
  }
  const levels = all("h1, h2, h3, h4, h5, h6").filter(shown).map((part) => Number(part.localName[1]));
  if (levels.filter((level) => level === 1).length !== 1) faults.push(`headings: ${levels}`);
  if (levels.some((level, place) => place && level > levels[place - 1] + 1)) faults.push(`headings: ${levels}`);
  if (all("[tabindex]").some((part) => part.tabIndex > 0)) faults.push("an order of its own for Tab");
  for (const table of all("table")) if (!table.querySelector("th[scope]")) faults.push(`no headers: ${start(table)}`);
  for (const part of all("li")) if (!part.parentElement.matches("ul, ol, menu")) faults.push(`no list: ${start(part)}`);

  // Size
  const width = document.documentElement.scrollWidth;
  if (width > innerWidth) faults.push(`${width} px wide`);
  if (/user-scalable=no|maximum-scale/.test(document.querySelector("meta[name=viewport]").content)) faults.push("no zoom");
  for (const part of all("button, select, summary, input:not([type=hidden]), a")) {
    if (!shown(part) || part.closest(".visually-hidden, .skip")) continue;
    if (part.localName === "a" && getComputedStyle(part).display === "inline") continue; // within a sentence
    const height = Math.max(...[part, ...(part.labels ?? [])].map((one) => one.getBoundingClientRect().height));
    if (height < (part.closest("footer") ? 23.9 : 43.9)) faults.push(`${height.toFixed(1)} px high: ${start(part)}`);
  }

  // Contrast: of every text with the colours under it
  const pen = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const painted = (colours) => {
    pen.clearRect(0, 0, 1, 1);
    for (const colour of colours) {
      pen.fillStyle = colour;
      pen.fillRect(0, 0, 1, 1);
    }
    return [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const luminance = (colour) => {
    const [red, green, blue] = colour.map((value) => {
      const part = value / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const seen = new Set();
  while (texts.nextNode()) {
    const part = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || seen.has(part) || !shown(part)) continue;
    seen.add(part);
    if (part.closest(".visually-hidden, .skip, [aria-hidden=true], [disabled], [aria-disabled=true]")) continue;
    const style = getComputedStyle(part);
    const under = [];
    for (let at = part; at; at = at.parentElement) under.unshift(getComputedStyle(at).backgroundColor);
    const ink = part instanceof SVGElement ? style.fill : style.color;
    const ground = painted(["#fff", ...under]);
    const colours = [luminance(ground), luminance(painted([`rgb(${ground})`, ink]))].sort((a, b) => b - a);
    const ratio = (colours[0] + 0.05) / (colours[1] + 0.05);
    const size = Number.parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (large ? 3 : 4.5)) faults.push(`contrast ${ratio.toFixed(2)}: ${start(part)}`);
  }
  return faults;
};
