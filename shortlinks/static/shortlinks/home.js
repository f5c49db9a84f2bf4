// The home page without a reload: shorten, copy, and a count that follows. Without this file the form still works.
"use strict";

const COUNT_EVERY_MS = 3000;
const get = (id) => document.getElementById(id);
const form = get("shorten");
const made = get("made");
const button = form.querySelector("button");
let counting;

function say(sentence) {
  get("news").textContent = sentence;
}

function showProblems(errors) {
  for (const name of ["url", "slug"]) {
    const sentences = errors[name] || [];
    get(`${name}-problem`).textContent = sentences.join(" ");
    get(`${name}-problem`).hidden = sentences.length === 0;
    get(name).toggleAttribute("aria-invalid", false);
    if (sentences.length) get(name).setAttribute("aria-invalid", "true");
  }
  const others = Object.keys(errors).filter((name) => name !== "url" && name !== "slug");
  get("form-problem").textContent = others.flatMap((name) => errors[name]).join(" ");
  get("form-problem").hidden = others.length === 0;
  if (errors.slug) form.querySelector("details").open = true;
  const first = ["url", "slug"].find((name) => errors[name]);
  if (first) get(first).focus();
}

function problemsOf(response, problem) {
  if (response.status === 429) {
    const seconds = response.headers.get("Retry-After") || "60";
    return { "": [`Too many links for one minute. Please try again in ${seconds} seconds.`] };
  }
  return problem.errors || { "": [problem.detail || "That did not work. Please try again."] };
}

function showCount(clicks) {
  const before = get("clicks").textContent;
  get("clicks").textContent = clicks;
  get("clicks-word").textContent = clicks === 1 ? "click" : "clicks";
  if (before !== String(clicks)) say(`${clicks} ${get("clicks-word").textContent}`);
}

function showMade(link) {
  made.dataset.slug = link.slug;
  get("short-url").value = link.shortUrl;
  get("destination").textContent = link.url;
  get("destination").href = link.url;
  made.hidden = false;
  showCount(link.clickCount);
  say(`Your short link is ${link.shortUrl}`);
  history.replaceState(null, "", `/?made=${encodeURIComponent(link.slug)}`);
  get("copy").focus();
  countOn();
}

async function shorten(event) {
  event.preventDefault();
  button.disabled = true;
  const body = { url: get("url").value.trim() };
  const slug = get("slug").value.trim();
  if (slug) body.slug = slug;
  try {
    const response = await fetch("/api/links", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
    const answer = await response.json();
    showProblems(response.ok ? {} : problemsOf(response, answer));
    if (response.ok) {
      form.reset();
      showMade(answer);
    }
  } catch {
    showProblems({ "": ["The server cannot be reached. Please try again."] });
  } finally {
    button.disabled = false;
  }
}

async function copy() {
  try {
    await navigator.clipboard.writeText(get("short-url").value);
  } catch {
    get("short-url").select(); // no clipboard outside of https: the old way
    document.execCommand("copy");
  }
  get("copy").textContent = "Copied";
  say("Copied");
  setTimeout(() => { get("copy").textContent = "Copy"; }, 1500);
}

async function count() {
  const slug = made.dataset.slug;
  try {
    const response = await fetch(`/api/links/${encodeURIComponent(slug)}/stats`);
    if (response.ok && made.dataset.slug === slug) showCount((await response.json()).totals.clicks);
  } catch {
    // offline for a moment: the next round asks again
  }
}

function countOn() {
  clearInterval(counting);
  if (made.dataset.slug && !document.hidden) counting = setInterval(count, COUNT_EVERY_MS);
}

form.addEventListener("submit", shorten);
get("copy").addEventListener("click", copy);
get("copy").hidden = false;
document.addEventListener("visibilitychange", () => {
  if (made.dataset.slug && !document.hidden) count();
  countOn();
});
countOn();
