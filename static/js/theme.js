// Switch between dark and light: follows the system until the visitor chooses, then stores the choice.

const root = document.documentElement;
const system = matchMedia("(prefers-color-scheme: dark)");
const button = document.querySelector("[data-theme-switch]");
const label = document.querySelector("[data-theme-label]");

function current() {
  return root.dataset.theme ?? (system.matches ? "dark" : "light");
}

/** Label the switch with the theme it changes to, and set the browser's theme colour. */
function render() {
  label.textContent = current() === "dark" ? label.dataset.whenDark : label.dataset.whenLight;
  const ground = getComputedStyle(document.body).backgroundColor;
  for (const meta of document.querySelectorAll('meta[name="theme-color"]')) meta.content = ground;
  document.dispatchEvent(new Event("themechange"));
}

function remember(theme) {
  root.dataset.theme = theme;
  try {
    localStorage.setItem("theme", theme);
  } catch {
    // Storage can be forbidden: the choice then lasts only for this page.
  }
}

button.addEventListener("click", () => {
  remember(current() === "dark" ? "light" : "dark");
  render();
});
system.addEventListener("change", render);
// Follow the choice made in another tab.
addEventListener("storage", ({ key, newValue }) => {
  if (key !== "theme" || !newValue) return;
  root.dataset.theme = newValue;
  render();
});
button.hidden = false;
render();
