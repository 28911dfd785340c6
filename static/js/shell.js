// Registers the service worker, so that the site opens without a network.

navigator.serviceWorker?.register("/sw.js").catch(() => {
  // Private windows may refuse; the site then needs the network.
});
