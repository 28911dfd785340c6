// Lets the browser open the site without a network, where it can.

navigator.serviceWorker?.register("/sw.js").catch(() => {
  // Private windows may refuse: the site then needs the network, as any other.
});
