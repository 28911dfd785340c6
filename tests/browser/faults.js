// What a page must not have by our own rules, beside axe's: something to press that is small, or wider than its window.
() => {
  const faults = [];
  const width = document.documentElement.scrollWidth;
  if (width > innerWidth) faults.push(`${width} px wide`);
  for (const part of document.querySelectorAll("button, select, summary, input:not([type=hidden]), a")) {
    if (!part.checkVisibility({ visibilityProperty: true }) || part.closest(".visually-hidden, .skip")) continue;
    if (part.localName === "a" && getComputedStyle(part).display === "inline") continue; // within a sentence
    const height = Math.max(...[part, ...(part.labels ?? [])].map((one) => one.getBoundingClientRect().height));
    if (height < (part.closest("footer") ? 23.9 : 43.9)) faults.push(`${height.toFixed(1)} px high: ${part.outerHTML.slice(0, 90)}`);
  }
  return faults;
};
