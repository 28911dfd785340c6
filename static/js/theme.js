// The switch between dark and light: follows the system until someone chooses, then remembers the choice.

const root = document.documentElement;
const system = matchMedia("(prefers-color-scheme: dark)");
const button = document.querySelector("[data-theme-switch]");
const label = document.querySelector("[data-theme-label]");

function current() {
  return root.dataset.theme ?? (system.matches ? "dark" : "light");
}

/** Name the theme that the switch leads to, and colour the browser's own frame. */
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
    // Storage can be forbidden: the choice then lasts for this page.
  }
}

button.addEventListener("click", () => {
  remember(current() === "dark" ? "light" : "dark");
  render();
});
system.addEventListener("change", render);
// Another tab's choice.
addEventListener("storage", ({ key, newValue }) => {
  if (key !== "theme" || !newValue) return;
  root.dataset.theme = newValue;
  render();
});
button.hidden = false;
render();
