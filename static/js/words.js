// What the scripts say, in the page's language. Django's catalogue, which pages in English do without, is loaded before.

const LANGUAGE = document.documentElement.lang || "en";
const ONE_DECIMAL = new Intl.NumberFormat(`${LANGUAGE}-u-nu-latn`, { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 });
const WHOLE = new Intl.NumberFormat(`${LANGUAGE}-u-nu-latn`, { style: "percent", maximumFractionDigits: 0 });

/** The text in the page's language, with values in place of `%(name)s`. */
export function gettext(text, values = {}) {
  const translated = globalThis.gettext?.(text) ?? text;
  return translated.replace(/%\((\w+)\)s/g, (_, name) => values[name]);
}

/** `0.987` → `98.7%`; what is not certain never reads as 100. Digits are those that the site reads. */
export function percent(share) {
  if (share < 1 && share >= 0.9995) return `>${ONE_DECIMAL.format(0.999)}`;
  return ONE_DECIMAL.format(share);
}

/** `0.2` → `20%`. */
export function wholePercent(share) {
  return WHOLE.format(share);
}
