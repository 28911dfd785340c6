// Runs before the first paint, so that a remembered theme never flashes in the wrong one. The switch itself is theme.js.
try {
  const remembered = localStorage.getItem("theme");
  if (remembered === "light" || remembered === "dark") document.documentElement.dataset.theme = remembered;
} catch {
  // Storage can be forbidden: the page then follows the system.
}
