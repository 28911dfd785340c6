// Texts and numbers in the page's language. Django's message catalogue is loaded before, except on English pages.

const LANGUAGE = document.documentElement.lang || "en";
const MOST_PLACES = 4;
const DECIMALS = formats("decimal");
const PERCENTS = formats("percent");

/** Return the text in the page's language, with values in place of `%(name)s`. */
export function gettext(text, values = {}) {
  const translated = globalThis.gettext?.(text) ?? text;
  return translated.replace(/%\((\w+)\)s/g, (_, name) => values[name]);
}

/** Format `1234.5` as `1,234.50` with two places, like `web/numbers.py`. */
export function decimal(value, places = 0) {
  return DECIMALS[places].format(value);
}

/** Format `0.987` as `98.7%`; only exactly 1 reads as 100%. */
export function percent(share, places = 1) {
  const whole = 10 ** (places + 2);
  if (share < 1 && Math.round(share * whole) >= whole) return `>${PERCENTS[places].format((whole - 1) / whole)}`;
  return PERCENTS[places].format(share);
}

/** Return number formats by decimal places. Digits are 0 to 9 in every language, as they are what this site reads. */
function formats(style) {
  return Array.from({ length: MOST_PLACES + 1 }, (_, places) => {
    const digits = { minimumFractionDigits: places, maximumFractionDigits: places };
    return new Intl.NumberFormat(`${LANGUAGE}-u-nu-latn`, { style, ...digits });
  });
}
