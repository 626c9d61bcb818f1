/* What the reader sees and touches. */

const page = (selector) => document.querySelector(`.explorer ${selector}`);
const dialogue = page(".dialogue");
const steps = page(".steps");
let walked = [];
let chosen = 0;

/* An element: `make("p.error", "text", child, ...)`. */
function make(what, ...content) {
  const [tag, ...classes] = what.split(".");
  const element = document.createElement(tag);
  element.className = classes.join(" ");
  element.append(...content.filter((part) => part !== null));
  return element;
}

function follow() {
  const lmtp = page("[name=protocol]:checked").value === "lmtp";
  page(".complaint").textContent = "";
  try {
    walked = walk(dialogue.value, lmtp);
  } catch (exc) {
    walked = [];
    page(".complaint").textContent = exc.message;
  }
  steps.replaceChildren(...walked.map(showStep));
  choose(Math.min(chosen, walked.length - 1));
}

function showStep({ line, client, server }, index) {
  const button = make("button.line", line);
  button.type = "button";
  button.addEventListener("click", () => choose(index));
  const by = { C: "by-client", S: "by-server" }[line[0]] ?? "by-both";
  const shown = make(`li.${by}`, button, showEnd("client", client), showEnd("server", server));
  if (client.error || server.error || server.heard.some(isRefused)) shown.classList.add("wrong");
  return shown;
}

/* Whether a server has to refuse what it heard. */
function isRefused(event) {
  return event.startsWith("MalformedCommand") || event.includes("to be refused");
}

function showEnd(role, { state, ahead, outstanding, heard, error, asked }) {
  return make(
    asked ? `div.end.${role}` : `div.end.${role}.over`,
    make("span.role", role),
    make("span.state", state),
    ahead === state ? null : make("span.ahead", ahead),
    role === "client" && outstanding ? make("span.outstanding", String(outstanding)) : null,
    ...heard.map((event) => make(isRefused(event) ? "span.heard.refused" : "span.heard", event)),
    error ? make("span.error", error) : null,
  );
}

/* Choose a step: mark it, and tell more of it. */
function choose(index, isMoved = false) {
  chosen = Math.max(0, index);
  [...steps.children].forEach((step, at) => {
    const isChosen = at === chosen;
    step.classList.toggle("chosen", isChosen);
    step.firstChild.tabIndex = isChosen ? 0 : -1;
    if (isChosen) step.setAttribute("aria-current", "step");
    else step.removeAttribute("aria-current");
  });
  page(".where").textContent = walked.length ? `step ${chosen + 1} of ${walked.length}` : "no steps";
  const step = walked[chosen];
  page(".ends").replaceChildren(...(step ? [tellClient(step.client), tellServer(step.server)] : []));
  if (isMoved) steps.children[chosen]?.firstChild.focus();
}

function tellClient(seen) {
  const parts = tell("The client", seen);
  if (!seen.asked || seen.error) return make("section.told", ...parts);
  const { state, ahead, outstanding } = seen;
  if (ahead !== state) parts.push(make("p", `If all goes well it will be ${ahead}: ${TABLES.states[ahead]}`));
  const plural = outstanding > 1 ? "s" : "";
  if (outstanding) parts.push(make("p", `It waits for ${outstanding} answer${plural}.`));
  const may = verbsIn(ahead);
  const needs = outstanding && !seen.features.includes("PIPELINING") ? ", once it is answered" : "";
  if (may) parts.push(make("p", `It may say ${may}${needs}.`));
  return make("section.told", ...parts);
}

function tellServer(seen) {
  const parts = tell("The server", seen);
  const duty = seen.outstanding ? "It has to answer." : `It waits for ${verbsIn(seen.state) || "nothing"}.`;
  if (seen.asked && !seen.error) parts.push(make("p", duty));
  return make("section.told", ...parts);
}

function tell(who, { state, heard, error, features, asked }) {
  const offers = features.length ? make("p", `Offered: ${features.join(", ")}.`) : null;
  const title = make("h4", `${who}: `, make("span.state", state));
  if (!asked) return [title, make("p", "It raised an error, and is not asked any more.")];
  return [
    title,
    make("p", TABLES.states[state].replaceAll("`", "")),
    heard.length ? make("p", `It has heard ${heard.join("; ")}.`) : null,
    error ? make("p.error", error) : null,
    offers,
  ].filter(Boolean);
}

/* What may be said in a state, as the table has it: what the other protocol alone knows is left out. */
function verbsIn(state) {
  const lmtp = page("[name=protocol]:checked").value === "lmtp";
  const foreign = ["MalformedCommand", ...(lmtp ? ["Ehlo", "Helo"] : ["Lhlo"])];
  const kinds = Object.keys(TABLES.table[state]).filter((kind) => !foreign.includes(kind));
  return kinds.map((kind) => TABLES.names[kind]).join(", ");
}

function pick(name) {
  const { text, lmtp } = TRANSCRIPTS.find((one) => one.name === name) ?? TRANSCRIPTS[0];
  dialogue.value = text;
  page(`[name=protocol][value=${lmtp ? "lmtp" : "smtp"}]`).checked = true;
  chosen = 0;
  follow();
}

const MOVES = { first: () => 0, back: () => chosen - 1, on: () => chosen + 1, last: () => walked.length - 1 };
const KEYS = { Home: "first", ArrowUp: "back", ArrowDown: "on", End: "last" };

function move(to, isMoved) {
  choose(Math.min(MOVES[to](), walked.length - 1), isMoved);
}

page(".moves").addEventListener("click", ({ target }) => target.dataset.to && move(target.dataset.to, false));
steps.addEventListener("keydown", (event) => {
  if (!(event.key in KEYS)) return;
  event.preventDefault();
  move(KEYS[event.key], true);
});
dialogue.addEventListener("input", follow);
page("fieldset").addEventListener("change", follow);
page(".pick").append(...TRANSCRIPTS.map(({ name, title }) => new Option(title, name)));
page(".pick").addEventListener("change", ({ target }) => {
  history.replaceState(null, "", `#${target.value}`);
  pick(target.value);
});
addEventListener("hashchange", begin);

/* The fragment of the address names the dialogue to begin with. */
function begin() {
  const named = TRANSCRIPTS.find(({ name }) => `#${name}` === location.hash) ?? TRANSCRIPTS[0];
  page(".pick").value = named.name;
  pick(named.name);
}

begin();
