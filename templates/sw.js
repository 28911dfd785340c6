{% load static %}// Service worker that lets the site open without a network: it caches the drawing page, its files and the offline page.
// Everything else, above all the API, goes to the network and is never cached.

const SHELL = "shell-{{ version }}";
const FILES = [{% for file in files %}"{{ file|escapejs }}", {% endfor %}"/offline"];
const IGNORE_VARY = { ignoreVary: true }; // the cache belongs to this browser only
const PAGES = ["/", "/words.js"]; // fetched each time; the cached copy is used if that fails
const PERSONAL = /<!-- personal -->[^]*?<!-- \/personal -->/g; // user names and the like: the cached copy outlives a login

addEventListener("install", (event) => {
  event.waitUntil(fill().then(() => skipWaiting()));
});

addEventListener("activate", (event) => {
  event.waitUntil(
    caches.keys().then((names) => Promise.all(names.filter((name) => name !== SHELL).map((name) => caches.delete(name)))).then(() => clients.claim()),
  );
});

addEventListener("fetch", (event) => {
  const { request } = event;
  const { origin, pathname } = new URL(request.url);
  if (request.method !== "GET" || origin !== location.origin) return;
  if (FILES.includes(pathname)) event.respondWith(cacheFirst(request));
  else if (PAGES.includes(pathname) || request.mode === "navigate") event.respondWith(networkFirst(request, pathname));
});

async function cacheFirst(request) {
  return (await caches.match(request, IGNORE_VARY)) ?? fetch(request);
}

async function networkFirst(request, pathname) {
  try {
    const response = await fetch(request);
    if (response.ok && PAGES.includes(pathname)) {
      await keep(request, response.clone());
    }
    return response;
  } catch (error) {
    const kept = (await caches.match(request, IGNORE_VARY)) ?? (request.mode === "navigate" && (await caches.match("/offline")));
    if (kept) return kept;
    throw error;
  }
}

async function fill() {
  const shell = await caches.open(SHELL);
  await shell.addAll(FILES);
  await keep("/", await fetch("/"));
}

async function keep(request, response) {
  const { headers, ok } = response;
  if (!ok) throw new Error(`${response.url} answered ${response.status}`);
  const shell = await caches.open(SHELL);
  await shell.put(request, new Response((await response.text()).replace(PERSONAL, ""), { headers }));
}
