// The page of `understudy play`. All texts are set as text, never as HTML.
const $ = (selector, within = document) => within.querySelector(selector);
const element = (name, text, className = "") => Object.assign(document.createElement(name), { textContent: text, className });
const percent = (share) => `${(100 * share).toFixed(1)} %`;

const state = { run: null, picked: null, student: null, abort: null };
const cards = {};

/** The JSON of a path; an error's message is one sentence for the user. */
async function json(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer; see whether understudy play is still running.");
  }
  const body = await response.json().catch(() => ({ error: `the server answered with status ${response.status}` }));
  if (!response.ok) throw new Error(sentence(body.error));
  return body;
}

const sentence = (text) => `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
const milliseconds = (time) => (time < 1000 ? `${time.toFixed(time < 10 ? 1 : 0)} ms` : `${(time / 1000).toFixed(1)} s`);

function problem(message) {
  $("#problem").hidden = !message;
  $("#problem").textContent = message ?? "";
}

/** Empties a card and shows a line of status. */
function clear(card, status) {
  clearInterval(card.timer);
  card.article.ariaBusy = "false";
  $("progress", card.article).hidden = true;
  $(".state", card.article).textContent = status;
  $(".state", card.article).className = "state";
  $(".text", card.article).replaceChildren();
  $(".token", card.article).textContent = "";
  $(".facts", card.article).replaceChildren();
  $(".deferred", card.article)?.remove();
}

/** Shows that a card's text is being generated, with the seconds since then. */
function wait(card) {
  clear(card, "generating");
  card.article.ariaBusy = "true";
  $("progress", card.article).hidden = false;
  const begun = performance.now();
  card.timer = setInterval(() => {
    $(".state", card.article).textContent = `generating, ${((performance.now() - begun) / 1000).toFixed(0)} s`;
  }, 1000);
}

function fact(card, name, value, className = "") {
  $(".facts", card.article).append(element("dt", name), element("dd", value, className));
}

const listed = (items) => (items.length ? items.map((item) => `“${item}”`).join(", ") : "none");

function showItems(card, answer) {
  fact(card, "In the input only", listed(answer.missing), answer.missing.length ? "finding" : "");
  fact(card, "In the text only", listed(answer.invented), answer.invented.length ? "finding" : "");
}

/** A text as its tokens, each with a background by its probability. */
function showTokens(card, pieces) {
  for (const [text, probability] of pieces) {
    const span = text ? element("span", text) : element("span", "■", "end");
    span.style.setProperty("--doubt", `${(75 * (1 - probability)).toFixed(0)}%`);
    span.title = probability.toFixed(3);
    span.dataset.shown = `${text ? JSON.stringify(text) : "a special token without text"}: probability ${probability.toFixed(3)}`;
    $(".text", card.article).append(span);
  }
}

function showAnswer(card, answer) {
  clear(card, "");
  $(".state", card.article).textContent = `${milliseconds(answer.milliseconds)}, ${answer.tokens} tokens`;
  if (answer.pieces.length) showTokens(card, answer.pieces);
  else $(".text", card.article).textContent = answer.text;
  if (!answer.text) $(".state", card.article).textContent += "; the text is empty";
  fact(card, "Confidence", `${answer.confidence.toFixed(3)} per token`);
  if (answer.probability !== null) fact(card, "As good as the teacher's", percent(answer.probability));
  showItems(card, answer);
  if (!answer.finished) fact(card, "Cut", "at the limit of tokens", "finding");
  if (answer.no_tokens) fact(card, "Tokens", answer.no_tokens);
}

function showRecorded() {
  const card = cards.teacher;
  const recorded = state.picked?.recorded;
  clear(card, recorded ? "recorded when the run was evaluated" : "");
  if (!recorded) {
    $(".state", card.article).textContent = "The teacher is behind an API. Its text is known for test inputs only: choose one.";
    return;
  }
  $(".text", card.article).textContent = recorded.text;
  showItems(card, recorded);
}

/** What the threshold decides about the student's text. */
function decide() {
  const threshold = Number($("#threshold").value);
  $("#chosen").value = threshold.toFixed(2);
  $(".deferred", cards.student.article)?.remove();
  const point = nearest(state.run.curve, threshold);
  $("#curve").hidden = !point;
  if (point) {
    $("#curve").textContent = `On dev, at a threshold of ${point.threshold.toFixed(2)}: ${percent(point.deferred)} of the inputs are deferred, and student and teacher together score ${point.score.toFixed(2)} (${state.run.metric}), ${percent(point.quality)} of the teacher's score.`;
  }
  if (!state.student) {
    $("#decision").textContent = "No text yet.";
    return;
  }
  const value = state.student.probability ?? state.student.confidence;
  const deferred = value < threshold;
  if (deferred) $("h2", cards.student.article).append(" ", element("span", "would be deferred", "deferred"));
  $("#decision").textContent = `${value.toFixed(3)} is ${deferred ? "below" : "not below"} ${threshold.toFixed(2)}: ${deferred ? "the teacher would answer this input." : "the student's text would be used."}`;
}

const nearest = (curve, threshold) =>
  curve.reduce((best, one) => (!best || Math.abs(one.threshold - threshold) < Math.abs(best.threshold - threshold) ? one : best), null);

/** Requests the text of one system. Returns whether it was shown. */
async function request(name, source, signal) {
  const card = cards[name];
  const body = JSON.stringify({ source });
  const options = { method: "POST", headers: { "content-type": "application/json" }, body, signal };
  try {
    const answer = await json(`api/answers/${name}`, options);
    showAnswer(card, answer);
    if (name === "student") state.student = answer;
  } catch (error) {
    if (error.name === "AbortError") return;
    clear(card, error.message);
    $(".state", card.article).className = "state finding";
  }
  decide();
}

/** The student first: at the same time each would slow the other, and the times would be wrong. */
async function generate() {
  state.abort?.abort();
  state.abort = new AbortController();
  const { signal } = state.abort;
  const source = $("#source").value;
  state.student = null;
  decide();
  problem("");
  showReferences();
  for (const name of Object.keys(state.run.systems)) wait(cards[name]);
  for (const name of Object.keys(state.run.systems)) {
    await request(name, source, signal);
    if (signal.aborted) return;
  }
}

function showReferences() {
  const references = state.picked?.references ?? [];
  $("#references").hidden = !references.length;
  $("#references ul").replaceChildren(...references.map((text) => Object.assign(element("li", text), { dir: "auto" })));
  if (!state.run.systems.teacher) showRecorded();
}

async function pick(index) {
  try {
    state.picked = await json(`api/inputs/${index}`);
  } catch (error) {
    problem(error.message);
    return;
  }
  $("#source").value = state.picked.source;
  $("#picker").open = false;
  await generate();
}

async function search() {
  const contains = $("#contains").value;
  try {
    const { found, inputs } = await json(`api/inputs?${new URLSearchParams({ contains })}`);
    if (contains !== $("#contains").value) return; // an older answer
    $("#found").value = found > inputs.length ? `the first ${inputs.length} of ${found}` : `${found} found`;
    $("#inputs").replaceChildren(...inputs.map(([index, text]) => {
      const button = Object.assign(element("button", text), { type: "button", dir: "auto" });
      button.addEventListener("click", () => pick(index));
      const row = element("li", "");
      row.append(button);
      return row;
    }));
  } catch (error) {
    problem(error.message);
  }
}

function addCard(name, system) {
  const article = $("#system").content.cloneNode(true).firstElementChild;
  article.id = name;
  $(".role", article).textContent = name === "student" ? "Student" : "Teacher";
  $(".name", article).textContent = system === name ? "" : system;
  $(".state", article).textContent = "No text yet.";
  const show = ({ target }) => {
    if (!target.dataset.shown) return;
    $(".shown", article)?.classList.remove("shown");
    target.classList.add("shown");
    $(".token", article).textContent = target.dataset.shown;
  };
  // A click too: a touch screen has no pointer that hovers.
  for (const event of ["pointerover", "click"]) $(".text", article).addEventListener(event, show);
  $("#systems").append(article);
  cards[name] = { article, timer: 0 };
}

async function start() {
  try {
    state.run = await json("api/run");
  } catch (error) {
    $("#run").textContent = "understudy play";
    problem(error.message);
    return;
  }
  const { run, systems, inputs, calibrated } = state.run;
  $("#run").textContent = document.title = `${run}: student and teacher`;
  for (const [name, system] of Object.entries({ ...systems, teacher: systems.teacher ?? "behind an API" })) addCard(name, system);
  $("#picker summary").textContent = `Choose one of ${inputs} test inputs`;
  $("#what").textContent = calibrated
    ? "the probability that the student's text is as good as the teacher's"
    : "the student's confidence, which is not calibrated in this run";
  $("#question").addEventListener("submit", (event) => { event.preventDefault(); generate(); });
  $("#source").addEventListener("keydown", (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) generate(); });
  $("#source").addEventListener("input", () => { state.picked = null; });
  $("#random").addEventListener("click", () => pick(Math.floor(Math.random() * inputs)));
  $("#picker").addEventListener("toggle", () => { if ($("#picker").open && !$("#inputs").children.length) search(); });
  $("#contains").addEventListener("input", search);
  $("#contains").addEventListener("keydown", (event) => { if (event.key === "Enter") event.preventDefault(); });
  $("#threshold").addEventListener("input", decide);
  showReferences();
  decide();
}

start();
