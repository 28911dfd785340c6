// Applies the stored theme before the first paint, so that the wrong theme never flashes. theme.js has the switch.
try {
  const remembered = localStorage.getItem("theme");
  if (remembered === "light" || remembered === "dark") document.documentElement.dataset.theme = remembered;
} catch {
  // Storage can be forbidden: the page then follows the system.
}
